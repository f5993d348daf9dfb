"""Costs and paths of least cost, against their definitions computed frame by frame and path by path."""

from itertools import pairwise, product

import numpy as np
import pytest

from facemill.masks.block_match import (
    ABSENT,
    FLOOR,
    JUMP,
    TICK,
    TRUST,
    Blocks,
    band_costs,
    best_path,
    fit_levels,
    split_blocks,
)


def by_definition(real: Blocks, fake: Blocks, predicted: np.ndarray, reach: int, weight: float) -> np.ndarray:
    costs = np.full((len(predicted), 2 * reach + 1), np.nan)
    for row, frame in enumerate(predicted):
        for column, wanted in enumerate(range(frame - reach, frame + reach + 1)):
            if 0 <= wanted < len(real.present) and real.present[wanted]:
                squares = np.square(fake.pixels[:, row] - real.pixels[:, wanted]).mean(axis=1)
                costs[row, column] = np.log(squares + FLOOR).mean() * weight
        least = np.nanmin(costs[row], initial=np.inf)
        costs[row, np.isnan(costs[row])] = (least if np.isfinite(least) else 0) + ABSENT
    return costs


@pytest.mark.parametrize(
    "predicted",
    [
        np.arange(150),
        np.arange(150) + 40,  # past the end, at last without any frame within reach
        np.arange(150) - 20,
        np.arange(150) // 3,
        np.concatenate([np.arange(20), np.arange(90, 110)]),
        np.array([-9, 4, 149, 300]),
    ],
)
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_costs_are_mean_log_differences_of_blocks(predicted: np.ndarray, weight: float) -> None:
    rng = np.random.default_rng(0)
    present = rng.random(150) > 0.1
    real = Blocks(rng.normal(0, 40, (4, 150, 9)).astype(np.float32), present)
    shown = np.clip(predicted, 0, 149)
    fake = Blocks(real.pixels[:, shown] + rng.normal(0, 5, (4, len(shown), 9)).astype(np.float32), present[shown])
    costs = band_costs(real, fake, predicted, 3, weight)
    assert costs.dtype == np.float32
    assert costs == pytest.approx(by_definition(real, fake, predicted, 3, weight), abs=1e-3)


def test_a_frame_costs_nothing_where_it_is_shown_unchanged() -> None:
    real = Blocks(np.random.default_rng(0).normal(0, 40, (4, 20, 9)).astype(np.float32), np.ones(20, bool))
    assert band_costs(real, real, np.arange(20), 3, 1.0)[:, 3] == pytest.approx(np.zeros(20), abs=1e-2)


@pytest.mark.parametrize("clocks_differ", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_the_best_of_all(clocks_differ: bool, seed: int) -> None:
    costs = np.random.default_rng(seed).uniform(0, 0.8, (4, 5)).astype(np.float32)
    step = TICK if clocks_differ else JUMP
    prices = {}
    for path in product(range(5), repeat=4):
        moves = [{0: 0, 1: step}.get(abs(b - a), JUMP) for a, b in pairwise(path)]
        away = [min(TRUST / 5 * abs(column - 2), TRUST) for column in path]
        prices[path] = sum(moves) + sum(away) + float(costs[np.arange(4), path].sum())
    best = min(prices, key=prices.get)
    found, extra = best_path(costs, clocks_differ=clocks_differ)
    assert tuple(found) == best
    for row, column in product(range(4), range(5)):
        through = min(price for path, price in prices.items() if path[row] == column)
        assert extra[row, column] == (
            np.inf if best[row] == column else pytest.approx(through - prices[best], abs=1e-6)
        )


@pytest.mark.parametrize(("height", "width", "corners"), [(54, 96, [(3, 0), (3, 12)]), (26, 31, [(1, 3), (1, 15)])])
def test_blocks_lie_in_the_middle(height: int, width: int, corners: list[tuple[int, int]]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width), np.uint8)
    blocks = split_blocks(frames, np.ones(2, bool))
    assert blocks.pixels.shape == ((height // 12) * (width // 12), 2, 144)
    assert blocks.pixels.dtype == np.float32  # a film's take gigabytes in the next larger type
    for number, (top, left) in enumerate(corners):
        block = frames[:, top : top + 12, left : left + 12].astype(np.float32) - 128
        assert np.array_equal(blocks.pixels[number], block.reshape(2, 144))
    assert blocks.energy == pytest.approx(np.square(blocks.pixels).sum(axis=2), rel=1e-5)


@pytest.mark.parametrize(("contrast", "gain", "level"), [(1.0, 1, 5), (1.5, 1.2, -7), (1.5, 0.8, 27), (40, 1.2, -7)])
def test_levels_are_fitted_from_a_contrast_of_one_gray_level_on(contrast: float, gain: float, level: float) -> None:
    """The fake is the real darker or brighter, and with another contrast; 30 % of it are forged."""
    fake = np.tile([-contrast, contrast], 50) + 100
    forged = np.arange(100) % 10 < (3 if contrast > 1 else 0)
    real = gain * fake + level + forged * 25
    assert fit_levels(real, fake) == pytest.approx((gain, level), abs=0.05 if contrast > 1 else 1e-9)


def test_levels_of_a_plain_fake_are_not_fitted() -> None:
    assert fit_levels(np.full(100, 90.0), np.tile([99.5, 100.5], 50)) == (1, 0)
