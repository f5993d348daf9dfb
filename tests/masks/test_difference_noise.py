"""The noise to expect, where texture and energy of each cell are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from facemill.masks.difference_noise import NoiseTable, noise_share
from facemill.masks.face_difference import _texture

BINS, FEWEST = 8, 50
SIDE = 128


GROWING = np.tile(np.arange(SIDE, dtype=np.float32) ** 2, (SIDE, 1))
"""Luma whose texture grows from left to right."""


def table(free: np.ndarray, otherwise: np.ndarray, luma: np.ndarray = GROWING) -> NoiseTable:
    """Of one frame; all energy is coding noise."""
    shown = SimpleNamespace(texture=_texture(luma))
    fine = np.full((1, SIDE, SIDE), 100, np.float32)
    return NoiseTable([shown], 1, free=free[None], otherwise=otherwise[None], fine=fine, coarse=np.zeros_like(fine))


def test_each_eighth_of_the_texture_has_its_own_noise() -> None:
    everywhere = np.ones((SIDE, SIDE), bool)
    eighths = np.arange(SIDE) // (SIDE // BINS)
    energy = np.tile(np.float32(1 + eighths**2), (SIDE, 1))
    expected = table(everywhere, everywhere).expected(energy[None])[0]
    middles = np.arange(SIDE // BINS // 2, SIDE, SIDE // BINS)[1:-1]  # at the edges texture is not what it is between
    assert np.abs(expected[64, middles] / energy[64, middles] - 1).max() < 0.1


def test_the_given_cells_are_used_if_there_are_fifty_for_each_eighth() -> None:
    energy = np.zeros((1, SIDE, SIDE), np.float32)
    energy[0, :64] = 100
    for missing, noise in ((0, 100), (1, 0)):
        free, otherwise = np.zeros((2, SIDE, SIDE), bool)
        free[: FEWEST * BINS // 50, :50] = True
        free[0, :missing] = False
        otherwise[64:] = True
        assert np.abs(table(free, otherwise).expected(energy) - noise).max() < 1e-3


def test_texture_counts_alike_along_rows_and_columns() -> None:
    everywhere = np.ones((SIDE, SIDE), bool)
    rng = np.random.default_rng(0)
    luma, energy = rng.uniform(0, 255, (SIDE, SIDE)).astype(np.float32), rng.random((1, SIDE, SIDE), np.float32)
    luma[:, : SIDE // 2] /= 8
    upright, lying = (table(everywhere, everywhere, one).expected(other) for one, other in (
        (luma, energy), (luma.T.copy(), energy.transpose(0, 2, 1))))  # fmt: skip
    assert upright[0] == pytest.approx(lying[0].T, rel=1e-3)


def test_noise_is_shared_out_by_how_much_a_blur_leaves() -> None:
    """Coding noise is gone after a blur at an eye's scale; a forgery stays."""
    share = noise_share(np.float32([100, 100, 100]), np.float32([0, 43, 100]))
    assert share.dtype == np.float64
    np.testing.assert_allclose(share, [1, 0.5, 0], atol=0.03)
