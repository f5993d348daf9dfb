"""The page "How faithful?": what the papers say, where it is implemented, what was chosen, and the tests that hold it.

`docs/faithful/` has a file per detector, and one of metrics. What they name is looked up: modules, symbols, tests.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from facemill.options import Options
from facemill.pipeline.experiments.measure import count_size
from facemill.registry import FORGERY_DETECTORS

__all__ = ["PLAIN", "Entry", "faults", "page", "read_entries", "table"]

ROOT = Path(__file__).parents[1]
PLAIN = {"efficientnet_b4", "resnet18", "resnet34", "temporal", "video_resnet", "xception"}
"""The registry's detectors that are no paper's: a backbone and a linear layer."""

_INTRO = """\
---
hide: [navigation, toc]
---

<style>.md-grid { max-width: 90rem; }</style>

# How faithful?

What each paper states, where the code does it, what the paper leaves open and what was chosen instead, the tests that
hold it, and where the authors' released code differs: of the five papers, and of three baselines that they are compared
with. The paper is followed, also where its release differs, unless a
row says otherwise; `form: release` of MAT and SIA builds the released networks, so that the authors' checkpoints can be
evaluated. Modules, symbols and tests are looked up, and our sizes counted, whenever this page is made; a
test's name is written as the sentence that it is. "Open" means that the source does not say."""


class Statement(Options):
    """A statement of a paper."""

    at: str
    """Equation or section."""
    says: str
    code: tuple[str, ...] = Field(min_length=1)
    """`module:symbol` below facemill, or a file of the repository."""
    tests: tuple[str, ...] = Field(min_length=1)
    """`file::function`."""
    open: str = ""
    """What the paper leaves open, and what was chosen."""
    release: str = ""
    """Where the release differs, and which is followed."""


class Size(Options):
    """The size of a network: parameters in millions, and multiply-adds of an image in 1e9."""

    network: str
    paper: str
    release: str
    options: dict[str, Any]
    """Of ours, which is counted."""
    note: str = ""


class Entry(Options):
    """A file of statements."""

    paper: str
    release: str = ""
    sources: str = ""
    """What was read in place of the paper's text, where that was not at hand."""
    sizes: tuple[Size, ...] = ()
    statements: tuple[Statement, ...] = Field(min_length=1)


def read_entries() -> dict[str, Entry]:
    """Entries by detector, and `metrics` last.

    Raises:
        ValidationError: a file has a field that is not known, or lacks one.
    """
    files = {path.stem: path for path in sorted((ROOT / "docs/faithful").glob("*.yaml"))}
    names = [*sorted(files.keys() - {"metrics"}), "metrics"]
    return {name: Entry.model_validate(yaml.safe_load(files[name].read_text("utf-8"))) for name in names}


def faults(entries: dict[str, Entry]) -> Iterator[str]:
    """Yield a sentence for each detector without an entry, and for each symbol, file or test that does not exist."""
    for name in FORGERY_DETECTORS.keys() - PLAIN - entries.keys():
        yield f"The detector {name} has no entry in docs/faithful."
    for name, entry in entries.items():
        for statement in entry.statements:
            for code in statement.code:
                if not _exists(code):
                    yield f"{name}, {statement.at}: there is no {code}."
            for test in statement.tests:
                file, _, function = test.partition("::")
                if function not in _functions(file):
                    yield f"{name}, {statement.at}: there is no test {test}."


def _exists(code: str) -> bool:
    module, separator, symbol = code.partition(":")
    if not separator:
        return (ROOT / code).is_file()
    try:
        attrgetter(symbol)(import_module(f"facemill.{module}"))
    except (ImportError, AttributeError):
        return False
    return True


@cache
def _functions(file: str) -> set[str]:
    path = ROOT / file
    if not (path.is_file() and path.name.startswith("test_")):
        return set()
    found = {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}
    return {name for name in found if name.startswith("test_")}


def page(entries: dict[str, Entry]) -> str:
    """The page in Markdown.

    Raises:
        ValueError: if there are faults.
    """
    if found := list(faults(entries)):
        raise ValueError("\n".join(found))
    parts = [_INTRO]
    for name, entry in entries.items():
        parts.append(f"## {entry.paper}")
        if entry.sources:
            parts.append(entry.sources)
        if entry.sizes:
            parts.append(f"Released code: {entry.release}. Weights in millions, and multiply-adds of an image in 1e9:")
            parts.append(table(("network", "paper", "release", "ours", ""), map(_size_row(name), entry.sizes)))
        parts.append(table(_HEAD if entry.release else _HEAD[:-1], map(_row, entry.statements)))
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown; what a row has beyond its head is left out."""
    lines = [list(head), ["---"] * len(head), *(list(map(str, row))[: len(head)] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


_HEAD = ("where", "statement", "code", "left open, and chosen", "tests", "release, where it differs")


def _row(s: Statement) -> tuple[str, ...]:
    return s.at, s.says, _places(s.code), s.open or "-", _sentences(s.tests), s.release or "-"


def _places(codes: Iterable[str]) -> str:
    """Symbols with their modules' files, which can wrap where names cannot."""
    parts = (code.rpartition(":") for code in codes)
    files = ((f", {module.replace('.', '/')}.py" if module else "", name) for module, _, name in parts)
    return "<br>".join(f"`{name}`{file}" for file, name in files)


def _sentences(tests: Iterable[str]) -> str:
    """Names of tests as the sentences that they are, by file."""
    files: dict[str, list[str]] = {}
    for file, _, function in (test.partition("::") for test in tests):
        files.setdefault(file, []).append(function.removeprefix("test_").replace("_", " "))
    return "<br>".join(f"{file.removeprefix('tests/')}: {'; '.join(names)}" for file, names in files.items())


def _size_row(name: str) -> Callable[[Size], tuple[str, ...]]:
    def row(size: Size) -> tuple[str, ...]:
        parameters, macs = (count_size(name, size.options, metric).mean for metric in ("parameters", "macs"))
        return size.network, size.paper, size.release, f"{parameters:.2f} M, {macs:.2f} G", size.note or "-"

    return row
