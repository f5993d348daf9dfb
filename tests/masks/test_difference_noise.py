"""The noise to expect, where texture and energy of each cell are known."""

from types import SimpleNamespace

import numpy as np

from facemill.masks.difference_noise import NoiseTable

BINS, FEWEST = 8, 50
SIDE = 128


def table(free: np.ndarray, otherwise: np.ndarray) -> NoiseTable:
    """Of a frame whose texture grows from left to right; all energy is coding noise."""
    columns = np.arange(SIDE, dtype=np.float32)
    shown = SimpleNamespace(luma=np.tile(columns**2, (SIDE, 1)))
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
