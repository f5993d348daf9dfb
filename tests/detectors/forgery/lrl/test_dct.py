"""The high-pass filter against the definition of the DCT and against SciPy's."""

import math

import numpy as np
import pytest
import scipy.fft
import torch

from facemill.detectors.forgery.lrl.dct import DCTHighPass, dct_rows, low_frequencies


def slow_high_pass(picture: np.ndarray, alpha: float) -> np.ndarray:
    """Every coefficient and every pixel by its sum, from the definition of the orthonormal DCT."""
    height, width = picture.shape

    def wave(frequency: int, position: int, size: int) -> float:
        scale = math.sqrt((1 if frequency == 0 else 2) / size)
        return scale * math.cos(math.pi * (2 * position + 1) * frequency / (2 * size))

    places = [(y, x) for y in range(height) for x in range(width)]
    spectrum = np.zeros_like(picture)
    for u, v in places:
        if u / height + v / width >= alpha:
            spectrum[u, v] = sum(picture[y, x] * wave(u, y, height) * wave(v, x, width) for y, x in places)
    result = np.zeros_like(picture)
    for y, x in places:
        result[y, x] = sum(spectrum[u, v] * wave(u, y, height) * wave(v, x, width) for u, v in places)
    return result


def scipy_high_pass(picture: np.ndarray, alpha: float) -> np.ndarray:
    spectrum = scipy.fft.dctn(picture, norm="ortho")
    rows, columns = np.indices(picture.shape)
    spectrum[rows / picture.shape[0] + columns / picture.shape[1] < alpha] = 0
    return scipy.fft.idctn(spectrum, norm="ortho")


def pictures(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).random(shape))


@pytest.mark.parametrize(("size", "removed"), [(299, 4950), (256, 3655), (320, 5671)])
def test_number_of_removed_coefficients(size, removed):
    assert low_frequencies(size, size, 0.33).sum() == removed


@pytest.mark.parametrize(("height", "width", "alpha"), [(9, 9, 0.33), (8, 11, 0.33), (7, 6, 0.9)])
def test_small_pictures_against_the_definition(height, width, alpha):
    x = pictures(1, 1, height, width)
    filtered = DCTHighPass(9, alpha)(x)
    assert filtered.dtype == torch.float32
    np.testing.assert_allclose(filtered[0, 0], slow_high_pass(x[0, 0].numpy(), alpha), atol=2e-6)


@pytest.mark.parametrize("shape", [(299, 299), (256, 256), (120, 299)])
def test_full_size_against_scipy(shape):
    x = pictures(2, 1, *shape)
    filtered = DCTHighPass(299, 0.33)(x)
    for before, after in zip(x[:, 0].numpy(), filtered[:, 0], strict=True):
        np.testing.assert_allclose(after, scipy_high_pass(before, 0.33), atol=5e-6)


def test_the_matrix_is_orthonormal():
    matrix = dct_rows(64, 64).double()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(64, dtype=torch.float64), atol=1e-6, rtol=0)


def test_flat_pictures_become_nothing():
    assert DCTHighPass(32, 0.33)(torch.full((1, 1, 32, 32), 0.7)).abs().max() < 1e-6


def test_autocast_does_not_make_it_coarse():
    x, high_pass = pictures(1, 1, 64, 64).float(), DCTHighPass(64, 0.33)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(high_pass(x), high_pass(x.clone()))
        rough = high_pass(x)
    assert rough.dtype == torch.float32
    assert torch.equal(rough, high_pass(x))


def test_matrices_are_no_part_of_a_checkpoint():
    assert DCTHighPass(64, 0.33).state_dict() == {}


def test_coefficients_on_the_triangle_s_edge_are_kept():
    """Eq. 2 removes what lies below alpha: 1/4 + 1/4 is not below 1/2."""
    assert low_frequencies(4, 4, 0.5).tolist() == [[1, 1], [1, 0]]
