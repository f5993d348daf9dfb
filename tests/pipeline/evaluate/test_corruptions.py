from io import BytesIO
from itertools import pairwise

import av
import numpy as np
import PIL.Image
import pytest
import torch
from skimage.data import astronaut

from facemill import ConfigError
from facemill.pipeline.evaluate.corruptions import LEVELS, Corruption, all_corruptions, corrupt

KEYS = ("video-f000000-t0", "video-f000001-t0")


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Two pictures of odd size, [2, 3, 75, 61]."""
    picture = torch.from_numpy(astronaut().copy()).permute(2, 0, 1) / 255
    return torch.stack([picture[:, 60:135, 190:251], picture[:, 300:375, 100:161]])


def test_there_are_five_levels_of_each():
    assert [(c.name, c.severity) for c in all_corruptions()] == [(n, s) for n in LEVELS for s in (1, 2, 3, 4, 5)]
    assert set(LEVELS) == {"contrast", "saturation", "compression", "blur", "noise", "blocks", "resize", "jpeg"}
    assert [(c.name, c.severity) for c in all_corruptions(["blur"])] == [("blur", n) for n in (1, 2, 3, 4, 5)]
    with pytest.raises(ConfigError, match="no corruption 'fog': choose from contrast"):
        list(all_corruptions(["fog"]))


@pytest.mark.parametrize("corruption", list(all_corruptions()), ids=str)
def test_pictures_keep_shape_and_range_and_do_not_meet(faces, corruption):
    worse = corrupt(faces, corruption, KEYS)
    assert worse.shape == faces.shape
    assert worse.dtype == faces.dtype
    assert worse.min() >= -1e-6
    assert worse.max() <= 1 + 1e-6
    assert torch.equal(worse[1:], corrupt(faces[1:], corruption, KEYS[1:]))


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_is_worse_than_the_one_before(faces, name):
    errors = [(corrupt(faces, Corruption(name, severity), KEYS) - faces).square().mean() for severity in range(1, 6)]
    assert errors[0] > 1e-5
    assert all(worse > better for better, worse in pairwise(errors))


def test_contrast_scales_values():
    assert corrupt(torch.full((1, 3, 2, 2), 0.8), Corruption("contrast", 3), "a") == pytest.approx(
        np.full((1, 3, 2, 2), 0.48)
    )


def test_saturation_scales_chroma_and_keeps_luma():
    image = torch.tensor([0.9, 0.3, 0.1])[None, :, None, None]
    worse = corrupt(image, Corruption("saturation", 2), "a").flatten().tolist()
    luma = 0.299 * 0.9 + 0.587 * 0.3 + 0.114 * 0.1
    # BT.601: Cr = 0.713 (R - Y), Cb = 0.564 (B - Y), each times 0.3.
    red, blue = luma + 0.3 * (0.9 - luma), luma + 0.3 * (0.1 - luma)
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    assert worse == pytest.approx([red, green, blue], abs=1e-6)
    gray = corrupt(image, Corruption("saturation", 5), "a").flatten().tolist()
    assert gray == pytest.approx([luma] * 3, abs=1e-6)


def test_compression_is_an_intra_frame_of_that_rate_factor(faces, tmp_path):
    """The same picture through a file written with the same rate factor."""
    path = tmp_path / "one.mp4"
    picture = faces[0, :, :74, :60].mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "35", "tune": "zerolatency"})
        stream.height, stream.width, stream.pix_fmt = 74, 60, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode())
    with av.open(str(path)) as file:
        expected = next(file.decode(video=0)).to_ndarray(format="rgb24")
    found = corrupt(faces[:1, :, :74, :60], Corruption("compression", 3), "a")
    assert np.abs(found[0].permute(1, 2, 0).numpy() * 255 - expected).max() < 1e-3


def test_blur_is_a_gaussian_of_a_sixth_of_the_kernel() -> None:
    """A point of light, and the kernel of side 13 written out."""
    image = torch.zeros(1, 3, 41, 41)
    image[:, :, 20, 20] = 1
    weights = np.exp(-(np.arange(-6, 7) ** 2) / 2 / (13 / 6) ** 2)
    weights /= weights.sum()
    found = corrupt(image, Corruption("blur", 3), "a")[0, 0].numpy() * 255
    assert np.abs(found[14:27, 14:27] - np.outer(weights, weights) * 255).max() <= 1
    assert found[:13].max() == 0


@pytest.mark.parametrize(("severity", "variance"), [(1, 0.001), (4, 0.01)])
def test_noise_has_the_variance_of_that_code(severity: int, variance: float) -> None:
    gray = torch.full((1, 3, 300, 300), 0.5)
    noisy = corrupt(gray, Corruption("noise", severity), "a")[0].numpy() * 255
    luma = np.tensordot([0.299, 0.587, 0.114], noisy, 1)
    assert luma.std() == pytest.approx(255 * 255 / 219 * variance**0.5, rel=0.03)
    assert ((noisy[0] - luma) / 1.402).std() == pytest.approx(255 * 255 / 224 * variance**0.5, rel=0.03)  # Cr
    assert luma.mean() == pytest.approx(127.5, abs=1)


def test_equal_keys_get_equal_noise_and_blocks(faces: torch.Tensor) -> None:
    same = faces[:1].repeat(2, 1, 1, 1)
    for name in ("noise", "blocks"):
        first, other = corrupt(same, Corruption(name, 2), ("a", "b"))
        assert not torch.equal(first, other)
        assert torch.equal(first, corrupt(same[:1], Corruption(name, 2), ("a",))[0])
    blurred = corrupt(same, Corruption("blur", 2), ("a", "b"))
    assert torch.equal(blurred[0], blurred[1])


def test_blocks_are_gray_squares_in_proportion_to_the_side() -> None:
    for side, expected in ((256, 16), (512, 32), (64, 4), (6, 1)):
        covered = (corrupt(torch.zeros(1, 3, side, side), Corruption("blocks", 1), "b")[0] > 0).all(0)
        assert 0.7 * expected * min(side, 8) ** 2 <= covered.sum() <= expected * min(side, 8) ** 2  # some overlap


def test_resizing_keeps_what_a_third_of_the_pixels_can_show() -> None:
    slow = torch.from_numpy(np.tile(np.sin(np.arange(120) / 20) / 2 + 0.5, (120, 1)).astype(np.float32))
    fast = torch.from_numpy(np.indices((120, 120)).sum(0) % 2).float()
    images = torch.stack([slow, fast])[:, None].repeat(1, 3, 1, 1)
    small, gone = corrupt(images, Corruption("resize", 2), ("a", "b"))
    assert (small - images[0]).abs().mean() < 0.01
    assert gone.std() < images[1].std()


def test_jpeg_is_that_of_another_encoder(faces: torch.Tensor) -> None:
    """The same quality by Pillow, whose tables are the same."""
    image = faces[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    buffer = BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=30)
    expected = np.asarray(PIL.Image.open(buffer)).astype(float)
    found = corrupt(faces[:1], Corruption("jpeg", 3), "a")[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - expected).mean() < 1
