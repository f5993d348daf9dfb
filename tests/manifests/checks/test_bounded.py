"""Sizes of images by their headers, and whether they end where their format ends."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from facemill.manifests.checks.bounded import image_fault, image_size


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_width_and_height_are_those_of_the_pixels(suffix):
    encoded = cv2.imencode(suffix, np.zeros((31, 47, 3), np.uint8))[1].tobytes()
    assert image_size(encoded) == (47, 31)
    assert image_size(encoded[:60] if suffix == ".png" else encoded) == (47, 31)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_an_image_ends_where_its_format_ends(suffix):
    encoded = cv2.imencode(suffix, np.zeros((31, 47, 3), np.uint8))[1].tobytes()
    assert image_fault(encoded, "RGB") is None
    assert image_fault(encoded + b"more", "RGB") == "does not end where its format ends"


def with_header(width: int, height: int, checksum: int | None = None) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = zlib.crc32(header) if checksum is None else checksum
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", checksum) + b"more"


def test_a_png_header_that_is_damaged_or_has_no_pixels_gives_no_size():
    assert image_size(with_header(1 << 20, 7)) == (1 << 20, 7)
    assert image_size(with_header(47, 31, checksum=1)) is None
    assert image_size(with_header(0, 31)) is None
    assert image_size(with_header(47, 0)) is None
    assert image_size(with_header(47, 31)[:30]) is None
    assert image_size(b"") is None
