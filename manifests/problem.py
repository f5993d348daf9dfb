"""What verification finds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["Problem", "VerifyReport", "condense"]

SHOWN = 5
"""Findings of one check that are listed one by one; of more, the first stands for all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a dataset, or that is not plausible.

    Attributes:
        file: path below the dataset's folder.
        message: what is wrong, without a full stop.
        row: position in the file, from 0, where one row is concerned.
        sample_id: of that row, where it has one.
        check: name of the check that found it.
        more: how many more rows the same check found at fault, where they are not listed.
    """

    file: str
    message: str
    row: int | None = None
    sample_id: str | None = None
    check: str = ""
    more: int = 0

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        sample = "" if self.sample_id is None else f" ({self.sample_id})"
        more = f", and {self.more} more like this" if self.more else ""
        return _printable(f"{self.file}{row}{sample}: {self.message}{more}.")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome of a verification.

    Attributes:
        problems: everything that is wrong; empty for a sound dataset.
        shards: shards read.
        samples: samples read from them and checked.
        videos: videos of the manifest accounted for.
        warnings: what is possible but not plausible, such as fakes with empty masks.
    """

    problems: tuple[Problem, ...]
    shards: int = 0
    samples: int = 0
    videos: int = 0
    warnings: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems


def condense(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems in their order; where a check found more than a few, its first one stands for all."""
    by_check: dict[str, list[Problem]] = {}
    for problem in problems:
        by_check.setdefault(problem.check or str(problem), []).append(problem)
    kept: list[Problem] = []
    for found in by_check.values():
        rows = sum(1 + problem.more for problem in found)
        kept += [replace(found[0], more=rows - 1)] if rows > SHOWN else found
    return tuple(kept)


def _printable(text: str) -> str:
    """The text with control characters and what is no text (bytes of a damaged file) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
