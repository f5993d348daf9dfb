import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facemill.pipeline.config.sections import EncodeSettings
from facemill.pipeline.extract.encode import encode_image, encode_png


def decode(data: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def smooth(rng: np.random.Generator) -> np.ndarray:
    return cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)


def test_png_is_lossless_and_equal_every_time(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    data = encode_image(image, EncodeSettings())
    assert np.array_equal(decode(data), image)
    assert data == encode_image(image, EncodeSettings())


def test_bytes_do_not_depend_on_where_the_stack_of_a_thread_lies(rng: np.random.Generator) -> None:
    """ISA-L takes part of that address for a hash, which is, for one in thousands of colours, that of the image."""
    images = [np.full((12, 12, 3), colour, np.uint8) for colour in rng.integers(0, 256, (40_000, 3), np.uint8)]
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda images: [encode_png(image) for image in images], (images, images))
    assert one == other


@pytest.mark.parametrize("shape", [(1, 1), (1, 7, 3), (5, 1, 3), (31, 17), (31, 17, 3)])
def test_another_decoder_reads_png_without_complaint(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Pillow compares the checksum of each part."""
    image = rng.integers(0, 256, (*shape[:2], 6), np.uint8)[..., 1:4]  # not contiguous
    image = image if len(shape) == 3 else image[..., 0]
    with warnings.catch_warnings(action="error"), Image.open(io.BytesIO(encode_image(image, EncodeSettings()))) as png:
        assert png.mode == ("RGB" if image.ndim == 3 else "L")
        assert np.array_equal(np.asarray(png), image)


def test_png_is_about_as_small_as_the_fastest_of_opencv(media: Path) -> None:
    photo = cv2.imread(str(media / "images" / "astronaut.png"))[..., ::-1]
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    fast += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]
    assert len(encode_image(photo, EncodeSettings())) <= 1.05 * len(cv2.imencode(".png", photo, fast)[1])


@pytest.mark.parametrize(("name", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_formats(name: str, magic: bytes, rng: np.random.Generator) -> None:
    image = smooth(rng)
    data = encode_image(image, EncodeSettings(format=name))
    assert data.startswith(magic)
    assert np.abs(decode(data).astype(int) - image).mean() < 3


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_a_lower_quality_takes_less_room(name: str, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (96, 96, 3), np.uint8)
    low, high = (len(encode_image(image, EncodeSettings(format=name, quality=quality))) for quality in (30, 90))
    assert low < 0.7 * high


def test_jpeg_keeps_the_colour_of_single_columns() -> None:
    """With chroma at half the width, red and blue columns would all become purple."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2, 0] = image[:, 1::2, 2] = 255
    decoded = decode(encode_image(image, EncodeSettings(format="jpeg", quality=95))).astype(int)
    assert np.abs(decoded - image).mean() < 15


def test_masks_are_one_channel_png() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[4:9, 3:20] = 255
    decoded = cv2.imdecode(np.frombuffer(encode_png(mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.ndim == 2
    assert np.array_equal(decoded, mask)
