"""Builds that hit a limit of their memory: with more of it, the same command gives the same bytes."""

import functools
import random
import resource
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import KILLS, SEED, Corpus
from tests.chaos.processes import workers_of
from tests.integration.command import ended, start, wait_for
from tests.integration.forked import HUNG, forked

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


def limit_memory(more: int, process: int = 0) -> None:
    """Leave a process so many bytes of address space."""
    pages = int(Path(f"/proc/{process or 'self'}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.prlimit(process, resource.RLIMIT_AS, (limit, limit))


def test_of_the_command(corpus: Corpus, tmp_path: Path) -> None:
    """It may crash, in a C library, as it has no workers: a process without memory does not come to say so."""
    chosen = random.Random(SEED)
    out, short = tmp_path / "0", 0
    for _ in range(max(4, KILLS // 5)):
        more = round(10 ** chosen.uniform(6.5, 9))
        done = forked(*corpus.args(out), folder=tmp_path, limit_s=600, first=functools.partial(limit_memory, more))
        assert done.code != HUNG, more
        assert "Internal error" not in done.err, (more, done)
        short += done.code != 0
        if out.exists():
            corpus.finish(out)
            out = corpus.after(out, finished=True)
    print(f"{short} of {max(4, KILLS // 5)} builds were short of memory")


def test_of_its_workers(corpus: Corpus, tmp_path: Path) -> None:
    chosen = random.Random(SEED)
    codes = []
    for number in range(max(2, KILLS // 10)):
        out, more = tmp_path / f"{number}", round(10 ** chosen.uniform(6, 8.5))
        with start(*corpus.args(out, "--workers", 2)) as process:
            wait_for(out, 1, process)
            for worker in workers_of(psutil.Process(process.pid)):
                limit_memory(more, worker.pid)
            done = ended(process)
        assert done.code in (0, 2, 3, 4), (more, done)
        assert "Internal error" not in done.err, (more, done)
        corpus.finish(out)
        codes.append(done.code)
    print(f"ended with {codes}")
