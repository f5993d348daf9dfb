"""Plants a seeded sample of mutants, each in a copy of the repository, and runs the tests that cover its line.

mutmut makes the mutants. Its own runner follows no symbolic links, such as `facemill/masks`, takes every mutant of a
file, and knows the tests of a function, not those of a line.
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import coverage

from tests.conftest import MEDIA
from tests.mutation.sampling import AREAS, ROOT, Mutant, sample

PRELOADED = (
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
LEAST_NOTICED = 0.9
NOT_FOUND = 4
"""Exit code of pytest for tests that are not there, or whose file cannot be imported."""
LEFT_OUT = (".*", "__pycache__", "*-out", "*.egg-info")


class Tests:
    """The tests that cover a line, the fastest first, from coverage's contexts and pytest's JUnit report."""

    def __init__(self, contexts: Path) -> None:
        self._data = coverage.CoverageData(str(contexts))
        self._data.read()
        self._seconds: dict[str, float] = {}
        self._of_file: dict[str, list[str]] = defaultdict(list)
        for case in ElementTree.parse(contexts.with_suffix(".xml")).iter("testcase"):
            file, classes = _file_of(case.attrib["classname"])
            node = "::".join([file, *classes, case.attrib["name"]])
            self._seconds[node] = float(case.attrib["time"])
            self._of_file[file].append(node)

    def of(self, mutant: Mutant, limit_s: float) -> list[str]:
        """As many as take `limit_s` in all, but one at least if there is any."""
        lines: Any = self._data.contexts_by_lineno(str(ROOT / mutant.path))
        nodes = self._in_contexts(lines.get(mutant.line, ()))
        if len(nodes) < 2:
            # What runs on import is known of no test, or of the first one only: tests of other lines use it.
            nodes += [node for node in self._in_contexts(chain(*lines.values())) if node not in nodes]
        total = 0.0
        return [node for node in nodes if (total := total + self._seconds[node]) <= limit_s] or nodes[:1]

    def _in_contexts(self, contexts: Iterable[str]) -> list[str]:
        """The tests that coverage's contexts name, the fastest first."""
        found: set[str] = set()
        for context in set(contexts):
            node, _, phase = context.rpartition("|")
            # What a fixture of a whole file does is known of its first test only, and used by all.
            found |= {node} if phase == "run" else {node, *self._of_file[node.partition("::")[0]]}
        return sorted(found & self._seconds.keys(), key=lambda node: (self._seconds[node], node))


def _file_of(classname: str) -> tuple[str, list[str]]:
    """The file of a test and the classes that it is in, from JUnit's name for both."""
    parts, classes = classname.split("."), []
    while parts and not (ROOT / "/".join(parts)).with_suffix(".py").is_file():
        classes.insert(0, parts.pop())
    return "/".join(parts) + ".py", classes


def is_noticed(work: tuple[Mutant, list[str]], limit_s: float) -> bool:
    """Whether a test fails, or does not end, with the mutant in this process's copy of the repository."""
    mutant, tests = work
    tree = ROOT / "build" / f"mutants-{multiprocessing.current_process()._identity[0]}"
    if not tree.exists():
        tree.mkdir(parents=True)
        for path in ROOT.iterdir():
            if path.is_dir() and path.name != "build":
                shutil.copytree(path, tree / path.name, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
            elif path.is_file():
                shutil.copy(path, tree)
    (tree / mutant.path).write_text(mutant.code)
    child = os.fork()
    if not child:
        _test(tree, tests)
    status, deadline = 0, time.monotonic() + limit_s
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.05)
    if ended[0]:
        status = ended[1]
    else:
        os.killpg(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    shutil.copy(ROOT / mutant.path, tree / mutant.path)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == NOT_FOUND:
        said = (tree / "tests.log").read_text()
        if "ERROR collecting" not in said and "ImportError while loading" not in said:
            raise RuntimeError(f"The tests have changed since the contexts were recorded: {said[-300:]}")
    return bool(status)


def _test(tree: Path, tests: list[str]) -> None:
    """Run tests in a copy of the repository, in this process, and end it with 0 if all pass."""
    code = 1
    with contextlib.suppress(BaseException), (tree / "tests.log").open("w") as log:
        os.setsid()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os.chdir(tree)
        os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1", FACEMILL_TEST_MEDIA=str(MEDIA))
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = True
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "facemill")]:
            del sys.modules[name]
        import pytest

        options = ("-xq", "-p", "no:cacheprovider", "-p", "no:cov", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        code = int(pytest.main([*options, *tests]))
    os._exit(code)


def main() -> None:
    """Print the mutants that survive and the shares; exits with 1 if fewer than 90 % are noticed."""
    options = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    options.add_argument("contexts", type=Path, help="coverage's data, beside JUnit's report of the same run")
    options.add_argument("--sample", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=60, help="of tests for each mutant")
    options.add_argument("--workers", type=int, default=os.cpu_count())
    given = options.parse_args()
    for name in PRELOADED:
        import_module(name)
    for left in (ROOT / "build").glob("mutants-*"):
        shutil.rmtree(left)
    tests = Tests(given.contexts)
    work = [(mutant, tests.of(mutant, given.seconds)) for mutant in sample(given.sample, given.seed)]
    counts: Counter[tuple[str, bool]] = Counter()
    with multiprocessing.get_context("fork").Pool(given.workers) as pool:
        covered = [(mutant, nodes) for mutant, nodes in work if nodes]
        noticed = pool.imap(partial(is_noticed, limit_s=5 * given.seconds + 60), covered)
        for mutant, nodes in work:
            counts[mutant.area, found := bool(nodes) and next(noticed)] += 1
            if not found:
                print(f"{mutant.path}:{mutant.line}, {len(nodes)} tests\n- {mutant.old}\n+ {mutant.new}", flush=True)
    for area in AREAS:
        print(f"{area}: {counts[area, True]} noticed, {counts[area, False]} survived")
    share = sum(counts[area, True] for area in AREAS) / counts.total()
    print(f"{share:.1%} of {counts.total()} noticed")
    sys.exit(share < LEAST_NOTICED)


if __name__ == "__main__":
    main()
