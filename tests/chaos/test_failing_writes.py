"""Disks whose writes, flushes, renames and deletions fail or are slow at any moment."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.chaos.conftest import KILLS, SEED, Corpus
from tests.integration.command import facemill

FOR_EVER = 1_000_000

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`disk.c`, to be preloaded."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("shim") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def test_writes_that_fail_or_are_slow(corpus: Corpus, shim: Path, tmp_path: Path) -> None:
    """Of the command and of its workers, each from a step of its own on; as a user sees it, in any of them."""
    chosen = random.Random(SEED)
    out, failed = tmp_path / "0", 0
    for _ in range(max(2, KILLS // 5)):
        where = chosen.choice((("--executor", "sequential"), ("--workers", 2)))
        disk = {
            "GOOD": round(10 ** chosen.uniform(0, 2.5)),  # up to the last step of a build
            "FAILS": chosen.choice((0, 1, FOR_EVER)),
            "US": chosen.choice((0, 5000)),
        }
        preloaded = {"LD_PRELOAD": str(shim), "CHAOS_DISK": str(out)}
        done = facemill(*corpus.args(out, *where), env=preloaded | {f"CHAOS_DISK_{k}": str(v) for k, v in disk.items()})
        told = (where, disk, done)
        assert done.code in ((0, 2) if disk["FAILS"] else (0,)), told
        assert "Traceback" not in done.err, told
        if done.code:
            assert "Input/output error" in done.err, told
            assert "same command again" in done.err or "run the command again" in done.err, told
        failed += done.code != 0
        out = corpus.after(out, finished=done.code == 0)
    corpus.finish(out)
    print(f"{failed} builds that failed, {int(out.name) + 1} that were finished")
