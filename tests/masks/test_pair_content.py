"""Whether two videos show the same content, from blocks whose structure and motion are known."""

import numpy as np
import pytest

from facemill.masks.pair_content import compare_content

BLOCKS, FRAMES, PIXELS = 40, 50, 16


@pytest.mark.parametrize(
    ("gain", "noise", "share"), [(1, 0, 0), (1, 1, 1 / 3), (1, 3, 3 / 5), (0.3, 0, 0.49 / 1.09), (0.2, 0, 0.64 / 1.04)]
)
def test_motion_differs_by_the_energy_of_the_difference_as_a_share_of_that_of_both(
    gain: float, noise: float, share: float
) -> None:
    """Half of the blocks stand still; `noise` is the energy that the fake's motion has besides, by that of the real."""
    rng = np.random.default_rng(0)
    still = rng.normal(128, 60, (BLOCKS, 1, PIXELS)).repeat(FRAMES, axis=1)
    motion, other = rng.normal(0, 5, (2, BLOCKS // 2, FRAMES, PIXELS))
    real, fake = still.copy(), still.copy()
    real[::2] += motion
    fake[::2] += gain * motion + noise**0.5 * other
    every = np.arange(FRAMES)
    _, reason, _ = compare_content(real.astype(np.float32), fake.astype(np.float32), every, every)
    assert bool(reason) == (share > 0.5)
    if reason:
        assert abs(int(reason.split(":")[1].split("%")[0]) / 100 - share) < 0.05


@pytest.mark.parametrize(("faster", "refused"), [(1, False), (1.5, True)])
def test_half_of_the_motion_may_differ(faster: float, refused: bool) -> None:
    """Half of the blocks stand still. Of three parts of another, real and fake each move two, one of them in common."""
    still = np.random.default_rng(0).integers(0, 256, (BLOCKS, 1, 12)).astype(np.float32).repeat(64, axis=1)
    turns = 4 * np.resize([1, -1], (64, 1)).astype(np.float32)
    real, fake = still.copy(), still.copy()
    real[::2, :, :8] += turns
    fake[::2, :, 4:8] += turns
    fake[::2, :, 8:] += faster * turns
    every = np.arange(64)
    _, reason, _ = compare_content(real, fake, every, every)
    assert bool(reason) == refused


@pytest.mark.parametrize(("alike", "refused"), [(0, True), (5, True), (36, False)])
def test_the_share_of_blocks_that_agree_is_told(alike: int, refused: bool) -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(128, 40, (BLOCKS, FRAMES, PIXELS)).astype(np.float32)
    fake = rng.normal(128, 40, (BLOCKS, FRAMES, PIXELS)).astype(np.float32)
    fake[:alike] = real[:alike]
    every = np.arange(FRAMES)
    _, reason, certain = compare_content(real, fake, every, every)
    assert certain
    assert ("resembles" in reason) == refused
    if refused:
        assert reason == f"only {100 * alike / BLOCKS:.0f} % of the image resembles its original"


@pytest.mark.parametrize(("deviation", "certain"), [(3.5, False), (4.5, True)])
def test_blocks_have_structure_from_a_standard_deviation_of_four_levels(deviation: float, certain: bool) -> None:
    """Below, two levels of difference are noise."""
    real = np.float32(128 + deviation * np.resize([1, -1], (BLOCKS, FRAMES, PIXELS)))
    _, reason, found = compare_content(real, real + 2, np.arange(FRAMES), np.arange(FRAMES))
    assert found == certain == (reason == "")


def test_videos_of_one_block_may_show_other_content() -> None:
    real, fake = np.random.default_rng(0).normal(128, 40, (2, 1, FRAMES, PIXELS)).astype(np.float32)
    squares, reason, _ = compare_content(real, fake, np.arange(FRAMES), np.arange(FRAMES))
    assert reason == "only 0 % of the image resembles its original"
    assert squares == pytest.approx(np.square(fake - real)[0].mean(axis=1), rel=1e-5)
