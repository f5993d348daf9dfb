from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from facemill.pipeline.evaluate.corruptions import LEVELS, Corruption, all_corruptions, corrupt


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Two pictures of odd size, [2, 3, 75, 61]."""
    picture = torch.from_numpy(astronaut().copy()).permute(2, 0, 1) / 255
    return torch.stack([picture[:, 60:135, 190:251], picture[:, 300:375, 100:161]])


def test_there_are_five_levels_of_each():
    assert [(c.name, c.severity) for c in all_corruptions()] == [(n, s) for n in LEVELS for s in (1, 2, 3, 4, 5)]
    assert set(LEVELS) == {"contrast", "saturation", "compression"}


@pytest.mark.parametrize("corruption", list(all_corruptions()), ids=str)
def test_pictures_keep_shape_and_range_and_do_not_meet(faces, corruption):
    worse = corrupt(faces, corruption)
    assert worse.shape == faces.shape
    assert worse.dtype == faces.dtype
    assert worse.min() >= -1e-6
    assert worse.max() <= 1 + 1e-6
    assert torch.equal(worse[1:], corrupt(faces[1:], corruption))


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_is_worse_than_the_one_before(faces, name):
    errors = [(corrupt(faces, Corruption(name, severity)) - faces).square().mean() for severity in range(1, 6)]
    assert errors[0] > 1e-5
    assert all(worse > better for better, worse in pairwise(errors))


def test_contrast_scales_values():
    assert corrupt(torch.full((1, 3, 2, 2), 0.8), Corruption("contrast", 3)) == pytest.approx(
        np.full((1, 3, 2, 2), 0.48)
    )


def test_saturation_scales_chroma_and_keeps_luma():
    image = torch.tensor([0.9, 0.3, 0.1])[None, :, None, None]
    worse = corrupt(image, Corruption("saturation", 2)).flatten().tolist()
    luma = 0.299 * 0.9 + 0.587 * 0.3 + 0.114 * 0.1
    # BT.601: Cr = 0.713 (R - Y), Cb = 0.564 (B - Y), each times 0.3.
    red, blue = luma + 0.3 * (0.9 - luma), luma + 0.3 * (0.1 - luma)
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    assert worse == pytest.approx([red, green, blue], abs=1e-6)
    gray = corrupt(image, Corruption("saturation", 5)).flatten().tolist()
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
    found = corrupt(faces[:1, :, :74, :60], Corruption("compression", 3))
    assert np.abs(found[0].permute(1, 2, 0).numpy() * 255 - expected).max() < 1e-3
