import cv2
import numpy as np
import pytest

from facemill.pipeline.config.sections import EncodeSettings
from facemill.pipeline.extract.encode import encode_image, encode_mask, image_suffix


def decode(data: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def smooth(rng: np.random.Generator) -> np.ndarray:
    return cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)


def test_png_is_lossless_and_equal_every_time(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    data = encode_image(image, EncodeSettings())
    assert np.array_equal(decode(data), image)
    assert data == encode_image(image, EncodeSettings())


@pytest.mark.parametrize(("name", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_formats(name: str, magic: bytes, rng: np.random.Generator) -> None:
    image = smooth(rng)
    data = encode_image(image, EncodeSettings(format=name))
    assert data.startswith(magic)
    assert np.abs(decode(data).astype(int) - image).mean() < 3
    assert image_suffix(EncodeSettings(format=name)) == {"jpeg": "jpg"}.get(name, name)


def test_masks_are_one_channel_png() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[4:9, 3:20] = 255
    decoded = cv2.imdecode(np.frombuffer(encode_mask(mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.ndim == 2
    assert np.array_equal(decoded, mask)
