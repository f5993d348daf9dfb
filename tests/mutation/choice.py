"""Which tests a mutant is shown to."""

import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate, chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import coverage

from tests.mutation.sampling import ROOT, Mutant

__all__ = ["FILES_OF_MODULES", "TestsOfLines", "files_of"]

FILES_OF_MODULES = Path(__file__).with_name("files_of_modules.json")
MOST_S = 40
"""Of a module's files of tests: recorded seconds, of which an idle core needs a third."""


def files_of(mutant: Mutant) -> tuple[list[str], float]:
    """The files of tests chosen for a mutant's module; their seconds are not known."""
    return json.loads(FILES_OF_MODULES.read_text()).get(mutant.path, []), 0.0


class TestsOfLines:
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

    def of(self, mutant: Mutant, limit_s: float) -> tuple[list[str], float]:
        """As many as take `limit_s` in all, but one at least if there is any, and their seconds."""
        lines: Any = self._data.contexts_by_lineno(str(ROOT / mutant.path))
        nodes = self._in_contexts(lines.get(mutant.line, ()))
        if len(nodes) < 2:
            # What runs on import is known of no test, or of the first one only: tests of other lines use it.
            nodes += [node for node in self._in_contexts(chain(*lines.values())) if node not in nodes]
        ends = accumulate(self._seconds[node] for node in nodes)
        chosen = [node for node, end in zip(nodes, ends, strict=True) if end <= limit_s] or nodes[:1]
        return chosen, sum(self._seconds[node] for node in chosen)

    def files(self, path: str) -> list[str]:
        """Files of tests that run a module's lines, as many as take MOST_S in all, but one at least.

        The one that mirrors the module comes first, then those that run most further lines for their time.
        """
        lines_of: dict[str, set[int]] = defaultdict(set)
        for line, contexts in self._data.contexts_by_lineno(str(ROOT / path)).items():
            for file in {context.partition("::")[0] for context in contexts} & self._of_file.keys():
                lines_of[file].add(line)
        mirror = f"tests/{Path(path).parent}/test_{Path(path).name}"
        cost = {file: 1 + sum(self._seconds[node] for node in self._of_file[file]) for file in lines_of}
        chosen: list[str] = []
        while lines_of:
            file = max(lines_of, key=lambda file: (file == mirror, len(lines_of[file]) / cost[file], file))
            if chosen and sum(cost[one] for one in [*chosen, file]) > MOST_S:
                break
            chosen.append(file)
            run = lines_of.pop(file)
            lines_of = {other: left for other, lines in lines_of.items() if (left := lines - run)}
        return chosen

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
