"""Plants a seeded sample of mutants, each in a copy of the repository, and runs the tests that cover its line.

Without coverage's contexts, which take minutes to record, it runs whole files of tests, chosen by module.

mutmut makes the mutants. Its own runner follows no symbolic links, such as `facemill/masks`, takes every mutant of a
file, and knows the tests of a function, not those of a line.

What was found is written to `build/mutants.jsonl` at once, so that a run that was stopped goes on where it was.
"""

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path

from tests.conftest import MEDIA
from tests.mutation.choice import FILES_OF_MODULES, TestsOfLines, files_of
from tests.mutation.sampling import AREAS, ROOT, Mutant, modules, sample

PRELOADED = (
    "pytest",
    "hypothesis",
    "xdist",
    "torchvision",
    "lightning.fabric",
    "timm",
    "kornia",
    "torchmetrics",
    "distributed",
    "pyarrow.parquet",
    "cv2",
)
"""What takes tests seconds to import; none of it is mutated."""
NOT_FOUND = 4
"""Exit code of pytest for tests that are not there, or whose file cannot be imported."""
LEAST_LIMIT_S = 60
NUMBERS = count(1)
LEFT_OUT = (".*", "*-out", "*.egg-info")
"""Of the copies; compiled files, which go by times that are copied too, spare each of them half a minute."""


class Results:
    """What was found before, which holds while the mutated file and the files of its tests stay as they are."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        self._path = path
        self._found: dict[str, str] = dict(json.loads(line) for line in path.read_text().splitlines())

    @staticmethod
    def _key(mutant: Mutant, tests: list[str]) -> str:
        files = sorted({node.partition("::")[0] for node in tests})
        return hashlib.sha256(
            "".join([mutant.code, *((ROOT / file).read_text() for file in files)]).encode()
        ).hexdigest()

    def get(self, mutant: Mutant, tests: list[str]) -> str | None:
        """How the tests notice the mutant; None if that is not known, and empty if there are no tests."""
        return self._found.get(self._key(mutant, tests)) if tests else ""

    def add(self, mutant: Mutant, tests: list[str], noticed: str) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps([self._key(mutant, tests), noticed]) + "\n")


def tried(results: Results, work: tuple[Mutant, list[str], float]) -> tuple[Mutant, list[str], str]:
    """A mutant, its tests, and how they notice it, now or in an earlier run."""
    mutant, tests, _ = work
    known = results.get(mutant, tests)
    return mutant, tests, noticed_by(work) if known is None else known


def noticed_by(work: tuple[Mutant, list[str], float]) -> str:
    """How tests notice the mutant in this process's copy of the repository; empty if they do not."""
    mutant, tests, seconds = work
    tree = ROOT / "build" / f"mutants-{multiprocessing.current_process()._identity[0]}"
    if not tree.exists():
        tree.mkdir(parents=True)
        for path in ROOT.iterdir():
            if path.is_dir() and path.name != "build" and not path.name.startswith("."):  # such as .venv: gigabytes
                shutil.copytree(path, tree / path.name, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
            elif path.is_file():
                shutil.copy(path, tree)
    (tree / mutant.path).write_text(mutant.code)
    os.utime(tree / mutant.path, (number := next(NUMBERS), number))  # compiled files go by time and size
    child = os.fork()
    if not child:
        _test(tree, tests)
    deadline = time.monotonic() + LEAST_LIMIT_S + 4 * seconds
    try:
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:  # also processes that the tests have left
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        shutil.copy2(ROOT / mutant.path, tree / mutant.path)
    if not ended[0]:
        os.waitpid(child, 0)
        return "tests that do not end"
    status = ended[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == NOT_FOUND:
        said = (tree / "tests.log").read_text()
        if "ERROR collecting" not in said and "ImportError while loading" not in said:
            # A test has the name of a value that the mutant changes; pytest tells it without the values.
            there = [test for test in tests if f"not found: {tree}/{test.partition('[')[0]}\n" not in said]
            if not there or there == tests:
                raise RuntimeError(f"The tests have changed since the contexts were recorded: {said[-300:]}")
            return noticed_by((mutant, there, seconds))
    return "a failure" if status else ""


def _test(tree: Path, tests: list[str]) -> None:
    """Run tests in a copy of the repository, in this process, and end it with 0 if all pass."""
    code = 1
    with contextlib.suppress(BaseException), (tree / "tests.log").open("w") as log:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os.chdir(tree)
        os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="", FACEMILL_TEST_MEDIA=str(MEDIA))
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = False
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "facemill")]:
            del sys.modules[name]
        import pytest

        options = ("-xq", "-p", "no:cacheprovider", "-p", "no:cov", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        code = int(pytest.main([*options, *tests]))
    os._exit(code)


def main() -> None:
    """Print the mutants that survive and the shares; exits with 1 if too few are noticed."""
    options = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    options.add_argument(
        "contexts", type=Path, nargs="?", help="coverage's data, beside JUnit's report of the same run"
    )
    options.add_argument(
        "--files", action="store_true", help="choose files of tests for each module, and write them down"
    )
    options.add_argument("--sample", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=60, help="of tests for each mutant")
    options.add_argument("--least", type=float, default=0.9, help="share that must be noticed")
    options.add_argument("--workers", type=int, default=os.cpu_count())
    given = options.parse_args()
    covering = given.contexts and TestsOfLines(given.contexts)
    if given.files:
        chosen = {path: files for path in modules(*AREAS) if (files := covering.files(path))}
        FILES_OF_MODULES.write_text(json.dumps(chosen, indent=1) + "\n")
        return
    tests_of = partial(covering.of, limit_s=given.seconds) if covering else files_of
    for name in PRELOADED:
        import_module(name)
    for left in (ROOT / "build").glob("mutants-*"):
        shutil.rmtree(left)
    results, counts = Results(ROOT / "build" / "mutants.jsonl"), Counter()
    work = ((mutant, *tests_of(mutant)) for mutant in sample(given.sample, given.seed))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # also in workers, which end their tests first
    with multiprocessing.get_context("fork").Pool(given.workers) as pool:
        # Mutants are made while the first of them are tried.
        for mutant, nodes, found in pool.imap(partial(tried, results), work):
            if results.get(mutant, nodes) is None:
                results.add(mutant, nodes, found)
            counts[mutant.area, bool(found)] += 1
            if found != "a failure":
                by = f"noticed by {found}" if found else f"survives {len(nodes)} tests or files of them"
                print(f"{mutant.path}:{mutant.line} {by}\n- {mutant.old}\n+ {mutant.new}", flush=True)
    for area in AREAS:
        print(f"{area}: {counts[area, True]} noticed, {counts[area, False]} survived")
    share = sum(counts[area, True] for area in AREAS) / counts.total()
    print(f"{share:.1%} of {counts.total()} noticed")
    sys.exit(share < given.least)


if __name__ == "__main__":
    main()
