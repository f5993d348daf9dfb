"""FAD and LFS against SciPy's transforms, in loops."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from facemill.detectors.forgery.f3net.frequency import FrequencyDecomposition, LocalFrequencyStatistics, band_filters

LOW, MIDDLE = math.sqrt(1 / 8), 0.5


def sigma(w: np.ndarray) -> np.ndarray:
    return (1 - np.exp(-w)) / (1 + np.exp(-w))


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def decomposition(size: int, **options: bool) -> FrequencyDecomposition:
    torch.manual_seed(0)
    return FrequencyDecomposition(size, **{"all_band": False, "learnable": True, **options})


def band_of(u: int, v: int, height: int, width: int) -> int:
    place = u / height + v / width
    return 0 if place < LOW else 1 if place < MIDDLE else 2


@pytest.mark.parametrize("learnable", [False, True])
def test_parts_are_the_inverse_transforms_of_the_weighed_spectrum(learnable: bool) -> None:
    fad, images = decomposition(12, learnable=learnable), random(2, 3, 12, 12)
    found = fad(images).detach().numpy()
    assert found.shape == (2, 9, 12, 12)
    for part in range(3):
        weights = np.zeros((12, 12))
        for u in range(12):
            for v in range(12):
                weights[u, v] = float(band_of(u, v, 12, 12) == part)
        if fad.weights is not None:
            weights += sigma(fad.weights[part].detach().double().numpy())
        for b in range(2):
            for channel in range(3):
                spectrum = dctn(images[b, channel].double().numpy(), norm="ortho") * weights
                expected = idctn(spectrum, norm="ortho")
                np.testing.assert_allclose(found[b, 3 * part + channel], expected, atol=1e-5)


def test_bands_are_the_first_sixteenth_the_next_one_and_the_rest_of_the_spectrum() -> None:
    bands = band_filters(1000, 1000, (0, LOW, MIDDLE, 2))
    torch.testing.assert_close(bands.mean((1, 2)), torch.tensor([1 / 16, 1 / 16, 7 / 8]), atol=1e-3, rtol=0)
    assert torch.equal(bands.sum(0), torch.ones(1000, 1000))


def test_fixed_parts_add_up_to_the_image_and_the_fourth_is_the_image() -> None:
    images = random(1, 3, 16, 16)
    parts = decomposition(16, learnable=False, all_band=True)(images).unflatten(1, (4, 3))
    torch.testing.assert_close(parts[:, :3].sum(1), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(parts[:, 3], images, atol=1e-5, rtol=0)


def test_images_of_other_sizes_have_bands_and_weights_of_their_own_size() -> None:
    images = random(1, 3, 10, 20)
    fixed = decomposition(16, learnable=False)(images)
    spectrum = dctn(images[0, 1].double().numpy(), norm="ortho")
    low = [[spectrum[u, v] * (band_of(u, v, 10, 20) == 0) for v in range(20)] for u in range(10)]
    np.testing.assert_allclose(fixed[0, 1], idctn(np.array(low), norm="ortho"), atol=1e-5)
    learned = decomposition(16)
    with torch.no_grad():
        learned.weights.fill_(2 * math.atanh(0.25))  # a quarter of the image in every part
    torch.testing.assert_close(learned(images), fixed + 0.25 * images.repeat(1, 3, 1, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("learnable", [False, True])
def test_statistics_are_logarithms_of_the_sums_of_weighed_coefficients(learnable: bool) -> None:
    torch.manual_seed(0)
    lfs, gray = LocalFrequencyStatistics(6, learnable=learnable), 255 * random(2, 1, 14, 18)
    found = lfs(gray).detach().numpy()
    assert found.shape == (2, 6, 7, 9)
    weights = np.zeros((6, 10, 10))
    for u in range(10):
        for v in range(10):
            weights[int((u + v) / 20 * 6), u, v] = 1
    if lfs.weights is not None:
        weights += sigma(lfs.weights.detach().double().numpy().reshape(6, 10, 10))
    for b in range(2):
        padded = np.pad(gray[b, 0].double().numpy(), 4)
        for y in range(7):
            for x in range(9):
                spectrum = dctn(padded[2 * y : 2 * y + 10, 2 * x : 2 * x + 10], norm="ortho")
                expected = [math.log10(np.abs(spectrum * band).sum() + 0.1) - 2 for band in weights]
                np.testing.assert_allclose(found[b, :, y, x], expected, atol=1e-3)


def test_a_window_per_two_pixels_as_many_as_the_paper_has() -> None:
    with torch.device("meta"):
        assert LocalFrequencyStatistics(6, learnable=True)(torch.empty(1, 1, 299, 299)).shape == (1, 6, 149, 149)


def test_rounding_errors_of_flat_windows_leave_no_trace_and_one_grey_level_does() -> None:
    lfs = LocalFrequencyStatistics(6, learnable=False)
    flat = torch.full((1, 1, 30, 30), 200.0)
    inner = lfs(flat)[0, 1:, 3:-3, 3:-3]  # all bands but that of the mean
    torch.testing.assert_close(inner, torch.full_like(inner, -3), atol=0.03, rtol=0)
    flat[0, 0, 15, 15] += 1
    assert (lfs(flat)[0, 1:4, 7, 7] > -2.5).all()


def test_weights_outside_of_a_band_are_learned_too() -> None:
    torch.manual_seed(0)
    lfs = LocalFrequencyStatistics(6, learnable=True)
    lfs(255 * random(1, 1, 12, 12)).sum().backward()
    assert (lfs.weights.grad != 0).all()


def test_bf16_does_not_round_either_view() -> None:
    fad, lfs = decomposition(12), LocalFrequencyStatistics(6, learnable=True)
    images, gray = random(1, 3, 12, 12), 255 * random(1, 1, 12, 12)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = fad(images), lfs(gray)
    torch.testing.assert_close(mixed, (fad(images), lfs(gray)), atol=1e-5, rtol=1e-5)
