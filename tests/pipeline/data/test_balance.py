"""Epochs of a balanced sampler."""

from collections import Counter

import numpy as np
import pytest

from facemill import DatasetError
from facemill.pipeline.data import BalancedSampler
from facemill.pipeline.data.batching import repeats

LABELS = np.array([1] * 23 + [0] * 5 + [1] * 4)  # 27 fakes, 5 reals


def epoch(number: int, **options) -> list[int]:
    sampler = BalancedSampler(LABELS, **{"seed": 3, **options})
    sampler.set_epoch(number)
    order = list(sampler)
    assert len(order) == len(sampler)
    return order


def test_an_epoch_has_as_many_reals_as_fakes():
    counts = Counter(epoch(0))
    assert [counts[i] for i in np.flatnonzero(LABELS == 1)] == [1] * 27
    assert sorted(counts[i] for i in np.flatnonzero(LABELS == 0)) == [5, 5, 5, 6, 6]


def test_who_is_repeated_once_more_changes_by_epoch():
    more = [frozenset(i for i, n in Counter(epoch(number)).items() if n == 6) for number in range(12)]
    assert len(set(more)) > 3


def test_either_class_may_be_the_rarer():
    counts = repeats(1 - LABELS, "oversample")
    assert counts[LABELS == 0].sum() == counts[LABELS == 1].sum() == 27


def test_without_balance_every_sample_comes_once():
    assert sorted(epoch(0, balance="none")) == list(range(32))
    assert repeats(LABELS, "none").tolist() == [1] * 32


def test_the_order_depends_on_seed_and_epoch_alone():
    assert epoch(4) == epoch(4)
    assert len({tuple(epoch(4)), tuple(epoch(5)), tuple(epoch(4, seed=2))}) == 3


def test_the_first_epoch_and_the_seed_are_number_0():
    assert list(BalancedSampler(LABELS)) == epoch(0, seed=0)


@pytest.mark.parametrize("world", [2, 4, 5])
def test_ranks_share_an_epoch(world):
    shares = [epoch(1, rank=rank, world=world) for rank in range(world)]
    assert {len(share) for share in shares} == {-(-54 // world)}
    order = [index for position in zip(*shares, strict=True) for index in position]
    assert order[:54] == epoch(1)
    assert order[54:] == epoch(1)[: len(order) - 54]


def test_one_class_alone_cannot_be_balanced():
    with pytest.raises(DatasetError, match=r"0 reals and 3 fakes.*train.balance=none"):
        BalancedSampler(np.ones(3, np.int64))
    assert sorted(BalancedSampler(np.ones(3, np.int64), balance="none")) == [0, 1, 2]
