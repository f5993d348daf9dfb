"""Plants a seeded sample of mutants, each in a copy of the repository, and runs the tests that cover its line.

mutmut makes the mutants. Its own runner follows no symbolic links, such as `facemill/masks`, takes every mutant of a
file, and knows the tests of a function, not those of a line.
"""

import argparse
import os
import queue
import random
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import coverage
import libcst
from mutmut.mutation.file_mutation import Mutation, create_mutations, deep_replace

from tests.conftest import MEDIA
from tests.mutation.equivalent import EQUIVALENT

ROOT = Path(__file__).parents[2]
BUILD = ("build", "clips", "decode", "extract", "tracking")
AREAS = {
    "masks": ["masks"],
    "manifests": ["manifests"],
    "build": [f"pipeline/{name}" for name in BUILD],
    "data": ["pipeline/data"],
}
START_S = 60
"""Longest time that pytest takes to start, on a busy machine."""
LEAST_NOTICED = 0.9
LEFT_OUT = (".*", "build", "__pycache__", "*-out", "*.egg-info")


@dataclass(frozen=True)
class Mutant:
    """One change of one file; `line` counts from 1."""

    area: str
    path: str
    line: int
    old: str
    new: str
    code: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.path, self.old, self.new


def mutant(area: str, path: str, rng: random.Random) -> Mutant | None:
    """One mutant of a file, which changes more than the words of a message; None if there is none."""
    source = (ROOT / path).read_text()
    module, mutations = mutations_of(path)
    if not mutations:
        return None
    mutation = rng.choice(mutations)
    changed = deep_replace(module, mutation.original_node, mutation.mutated_node)
    assert isinstance(changed, libcst.Module)
    lines, others = source.splitlines(), changed.code.splitlines()
    start = next(n for n, pair in enumerate(zip_longest(lines, others)) if pair[0] != pair[1])
    end = next(n for n, pair in enumerate(zip_longest(reversed(lines), reversed(others))) if pair[0] != pair[1])
    old, new = (" ".join(map(str.strip, part[start : max(len(part) - end, start + 1)])) for part in (lines, others))
    return Mutant(area, path, start + 1, old, new, changed.code)


@cache
def mutations_of(path: str) -> tuple[libcst.Module, list[Mutation]]:
    module, mutations, *_ = create_mutations(path, (ROOT / path).read_text())
    return module, [one for one in mutations if one.contained_by_top_level_function and not _is_prose(one)]


def _is_prose(mutation: Mutation) -> bool:
    text = mutation.original_node
    return isinstance(text, libcst.SimpleString) and " " in text.value


def sample(count: int, seed: int) -> list[Mutant]:
    """As many mutants of each area, of files drawn by their length; equivalent ones are left out."""
    rng = random.Random(seed)
    chosen: list[Mutant] = []
    for area, folders in AREAS.items():
        paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
        sizes = [path.stat().st_size for path in paths]
        drawn: dict[tuple[str, str, str], Mutant] = {}
        while len(drawn) < count // len(AREAS):
            [path] = rng.choices(paths, sizes)
            one = mutant(area, path.relative_to(ROOT).as_posix(), rng)
            if one is not None and one.key not in EQUIVALENT:
                drawn[one.key] = one
        chosen += drawn.values()
    return chosen


class Tests:
    """The tests that cover a line, the fastest first, from coverage's contexts and pytest's JUnit report."""

    def __init__(self, contexts: Path) -> None:
        self._data = coverage.CoverageData(str(contexts))
        self._data.read()
        self._files = {Path(path).relative_to(ROOT).as_posix(): path for path in self._data.measured_files()}
        self.seconds: dict[str, float] = {}
        for case in ElementTree.parse(contexts.with_suffix(".xml")).iter("testcase"):
            node = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
            self.seconds[node] = float(case.attrib["time"])
        self._of_file: Mapping[str, list[str]] = defaultdict(list)
        for node in self.seconds:
            self._of_file[node.partition("::")[0]].append(node)

    def of(self, path: str, line: int, limit_s: float) -> list[str]:
        contexts = self._data.contexts_by_lineno(self._files[path]).get(line, []) if path in self._files else []
        found: set[str] = set()
        for context in contexts:
            node, _, phase = context.rpartition("|")
            # A fixture of a whole file is set up for the first test, and used by others.
            found |= {node} if phase == "run" else {node, *self._of_file[node.partition("::")[0]]}
        chosen, total = [], 0.0
        for node in sorted(found & self.seconds.keys(), key=lambda node: (self.seconds[node], node)):
            total += self.seconds[node]
            if chosen and total > limit_s:
                break
            chosen.append(node)
        return chosen


def is_noticed(mutant: Mutant, tree: Path, tests: list[str], limit_s: float) -> bool:
    """Whether a test fails, or does not end, with the mutant in the copy of the repository at `tree`."""
    if not tests:
        return False
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "FACEMILL_TEST_MEDIA": str(MEDIA)}
    command = [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", "-p", "no:cov", *tests]
    (tree / mutant.path).write_text(mutant.code)
    try:
        return bool(subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=limit_s).returncode)
    except subprocess.TimeoutExpired:
        return True
    finally:
        shutil.copy(ROOT / mutant.path, tree / mutant.path)


def main() -> None:
    """Print what survives and the shares; exits with 1 if fewer than 90 % are noticed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--contexts", type=Path, default=ROOT / "build" / "contexts")
    options.add_argument("--sample", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=60, help="of tests for each mutant")
    options.add_argument("--workers", type=int, default=os.cpu_count())
    chosen = options.parse_args()
    tests, trees = Tests(chosen.contexts), queue.SimpleQueue()
    for number in range(chosen.workers):
        tree = ROOT / "build" / f"mutants-{number}"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        trees.put(tree)
    counts: Counter[tuple[str, bool]] = Counter()

    def plant(one: Mutant) -> tuple[Mutant, list[str], bool]:
        covering, tree = tests.of(one.path, one.line, chosen.seconds), trees.get()
        try:
            return one, covering, is_noticed(one, tree, covering, 5 * chosen.seconds + START_S)
        finally:
            trees.put(tree)

    with ThreadPoolExecutor(chosen.workers) as pool:
        for one, covering, noticed in pool.map(plant, sample(chosen.sample, chosen.seed)):
            counts[one.area, noticed] += 1
            if not noticed:
                print(f"{one.path}:{one.line}: {len(covering)} tests\n  - {one.old}\n  + {one.new}", flush=True)
    for area in AREAS:
        print(f"{area}: {counts[area, True]} noticed, {counts[area, False]} survived")
    share = sum(counts[area, True] for area in AREAS) / max(counts.total(), 1)
    print(f"{share:.1%} of {counts.total()} noticed")
    sys.exit(share < LEAST_NOTICED)


if __name__ == "__main__":
    main()
