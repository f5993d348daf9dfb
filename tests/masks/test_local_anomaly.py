"""Targets of local anomaly learning, against values written down by hand and slow loops."""

import numpy as np
import torch

from facemill.masks.local_anomaly import NEIGHBOURS, local_anomaly_targets


def loops(mask: np.ndarray, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 9 cell by cell, float64: a mask [H, W] of 0 and 1 to a and a', each [4, grid, grid]."""
    side = mask.shape[0] // grid
    average = np.zeros((grid, grid))
    for i in range(grid):
        for j in range(grid):
            average[i, j] = mask[i * side : (i + 1) * side, j * side : (j + 1) * side].astype(np.float64).mean()
    first, second = np.zeros((4, grid, grid)), np.zeros((4, grid, grid))
    for target, source in ((first, [average] * 4), (second, first)):
        for k, (up, left) in enumerate([(1, 0), (2, 0), (0, 1), (0, 2)]):
            for i in range(up, grid):
                for j in range(left, grid):
                    target[k, i, j] = float(abs(source[k][i, j] - source[k][i - up, j - left]) > 0)
    return first, second


def targets(mask: np.ndarray, grid: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = local_anomaly_targets(torch.from_numpy(mask)[None, None].float(), (grid, grid))
    return first[0].numpy(), second[0].numpy()


def test_neighbours_are_the_upper_and_the_left_ones_nearest_and_next():
    assert list(NEIGHBOURS.items()) == [("v1", (1, 0)), ("v2", (2, 0)), ("h1", (0, 1)), ("h2", (0, 2))]


def test_a_forged_square_written_down_by_hand():
    mask = np.zeros((24, 24))
    mask[8:16, 8:16] = 1  # patches of 4: rows and columns 2 and 3 of 6
    first, second = targets(mask, 6)
    column_v1 = [0, 0, 1, 0, 1, 0]  # steps into the square at row 2 and out of it at row 4
    column_v2 = [0, 0, 1, 1, 1, 1]
    twice_v1 = [0, 0, 1, 1, 1, 1]  # the edge of v1 is one patch thin: it begins and ends, twice
    twice_v2 = [0, 0, 1, 1, 0, 0]
    for k, column in enumerate([column_v1, column_v2]):
        for j in range(6):
            assert first[k, :, j].tolist() == (column if j in (2, 3) else [0] * 6)
            assert first[k + 2, j, :].tolist() == (column if j in (2, 3) else [0] * 6)
    for k, column in enumerate([twice_v1, twice_v2]):
        for j in range(6):
            assert second[k, :, j].tolist() == (column if j in (2, 3) else [0] * 6)
            assert second[k + 2, j, :].tolist() == (column if j in (2, 3) else [0] * 6)


def test_a_partly_forged_patch_differs_from_a_whole_one():
    mask = np.zeros((8, 8))
    mask[4:] = 1
    mask[7, 0] = 0  # patch (1, 0) of 2x2 is 15/16 forged
    first, _ = targets(mask, 2)
    assert first[2].tolist() == [[0, 0], [0, 1]]


def test_random_masks_agree_with_loops():
    rng = np.random.default_rng(0)
    for grid, size in ((8, 64), (16, 64), (16, 256), (32, 64)):
        # Blocks of two patches make equal neighbours, single pixels make unequal ones.
        mask = np.kron(rng.random((grid // 2, grid // 2)) < 0.5, np.ones((2 * size // grid,) * 2))
        mask[rng.integers(size, size=5), rng.integers(size, size=5)] = 1
        for ours, theirs in zip(targets(mask, grid), loops(mask, grid), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert 0 < ours.mean() < 1


def test_masks_of_one_value_have_no_anomaly():
    for value in (0.0, 1.0):
        for maps in targets(np.full((32, 32), value), 16):
            assert maps.max() == 0


def test_half_is_not_forged():
    mask = np.zeros((8, 8))
    mask[4:] = 0.5
    assert all(maps.max() == 0 for maps in targets(mask, 2))


def test_soft_edges_count_as_the_nearer_value():
    hard = np.zeros((32, 32))
    hard[8:24, 8:24] = 1
    soft = np.where(hard == 1, 0.999, 0.001)
    for ours, theirs in zip(targets(soft, 8), targets(hard, 8), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_samples_do_not_mix_and_the_grid_may_be_oblong():
    masks = (torch.rand(3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    first, second = local_anomaly_targets(masks, (8, 12))
    assert first.shape == second.shape == (3, 4, 8, 12)
    alone = local_anomaly_targets(masks[1:2], (8, 12))
    assert torch.equal(first[1:2], alone[0])
    assert torch.equal(second[1:2], alone[1])
