import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from facemill.detectors.face import area_sampling
from facemill.detectors.face.area_sampling import AreaSampler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (3, 61, 83, 3), np.uint8))


@pytest.fixture(params=["whole", "strips"])
def integrated(request, monkeypatch) -> str:
    """Frames are integrated as a whole, or in strips of a few rows, as very large ones are."""
    if request.param == "strips":
        monkeypatch.setattr(area_sampling, "WHOLE_PIXELS", 0)
        monkeypatch.setattr(area_sampling, "STRIP_PIXELS", 500)
    return str(request.param)


def as_input(pixels: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) / 128


@pytest.mark.usefixtures("integrated")
@pytest.mark.parametrize("size", [(61, 83), (37, 50), (13, 17), (1, 1), (100, 90)])
def test_resizing_is_torchs_area_interpolation(frames, size):
    expected = interpolate(as_input(np.stack(frames)), size=size, mode="area")
    sampler = AreaSampler(frames, CPU)
    torch.testing.assert_close(sampler.resize(*size, range(size[0])), expected, atol=1e-5, rtol=0)
    rows = range(size[0] // 2, size[0])
    torch.testing.assert_close(sampler.resize(*size, rows), expected[:, :, rows.start :], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("integrated")
@pytest.mark.parametrize("side", [24, 48])
def test_crops_are_torchs_area_interpolation(frames, side):
    boxes = torch.tensor([[0, 0, 83, 61], [10, 5, 34, 29], [82, 60, 83, 61], [3, 7, 64, 19], [0, 0, 83, 61]])
    owner = torch.tensor([0, 1, 2, 1, 2])
    images = as_input(np.stack(frames))
    crops = AreaSampler(frames, CPU).crop(owner, boxes, side)
    for crop, index, (x1, y1, x2, y2) in zip(crops, owner, boxes, strict=True):
        expected = interpolate(images[index, :, y1:y2, x1:x2][None], size=(side, side), mode="area")[0]
        torch.testing.assert_close(crop, expected, atol=1e-5, rtol=0)


def test_sums_that_wrap_around_leave_means_exact():
    frame = np.full((3000, 3000, 3), 255, np.uint8)  # 9e6 pixels of 255 sum to more than 2**31
    frame[-1000:, -1000:] = 7
    tail = AreaSampler([frame], CPU).crop(torch.tensor([0]), torch.tensor([[2500, 2500, 3000, 3000]]), 24)
    torch.testing.assert_close(tail, torch.full_like(tail, (7 - 127.5) / 128), atol=1e-5, rtol=0)


INTEGRAL = 513 * 513 * 3 * 4


def test_sums_of_large_frames_are_not_copied(integrated):
    frame = np.zeros((512, 512, 3), np.uint8)
    tracemalloc.start()
    sampler = AreaSampler([frame], CPU)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * INTEGRAL
    if integrated == "strips":
        tracemalloc.start()
        sampler.resize(200, 200, range(200))
        sampler.crop(torch.tensor([0]), torch.tensor([[0, 0, 512, 512]]), 24)
        assert tracemalloc.get_traced_memory()[1] < INTEGRAL / 5
        tracemalloc.stop()
