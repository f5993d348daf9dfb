"""A build that ends without a word before any step of a commit: a flush, a rename, a deletion."""

import functools
import os
import random
from pathlib import Path

import pytest

from tests.chaos.conftest import KILLS, SEED, Corpus
from tests.integration.forked import forked

STEPS = ("fsync", "replace", "unlink")
CRASHED = 77

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


def crash_at(step: int) -> None:
    """End this process before its nth step on a file."""
    left = step

    def wrap(name: str) -> None:
        real = getattr(os, name)

        @functools.wraps(real)
        def counted(*args, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(CRASHED)
            return real(*args, **options)

        setattr(os, name, counted)

    for name in STEPS:
        wrap(name)


def test_ended_before_any_step_it_is_finished_by_the_same_command(corpus: Corpus, tmp_path: Path) -> None:
    """Runs get as far as their step, so that the steps of all shards and of the merge are reached in turn."""
    chosen = random.Random(SEED)
    out, crashes, builds = tmp_path / "0", 0, 0
    while crashes < KILLS:
        step = round(10 ** chosen.uniform(0, 2.3))  # up to the last step of a build
        before = corpus.check_committed(out) if out.exists() else 0
        ended = forked(*corpus.args(out), folder=tmp_path, limit_s=600, first=functools.partial(crash_at, step))
        assert ended.code in (0, CRASHED), ended.err
        if ended.code == CRASHED:
            crashes += 1
            assert corpus.check_committed(out) >= before
        else:
            corpus.check_finished(out)
            builds += 1
            out = tmp_path / f"{builds}"
    if out.exists():
        corpus.finish(out)
    print(f"{crashes} crashes in {builds + 1} builds")
