"""The findings of a verification."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from facemill.manifests.printable import printable

__all__ = ["Problem", "VerifyReport", "condense"]

SHOWN = 5
"""Maximum number of findings listed per check; if there are more, only the first is listed, with a count."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a dataset, or one implausible finding.

    Attributes:
        file: path below the dataset's folder.
        message: the fault, without a full stop.
        row: position in the file, from 0, if one row is concerned.
        sample_id: of that row, if it has one.
        check: name of the check that found it.
        more: number of further rows with the same fault that are not listed.
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
        return printable(f"{self.file}{row}{sample}: {self.message}{more}.")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome of a verification.

    Attributes:
        problems: all faults; empty for an intact dataset.
        shards: number of shards read.
        samples: number of samples read from them and checked.
        videos: number of videos in the manifest.
        warnings: possible but implausible findings, such as fakes with empty masks.
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
    """Keep the order of the problems; reduce a check with more than `SHOWN` findings to its first one."""
    by_check: dict[str, list[Problem]] = {}
    for problem in problems:
        by_check.setdefault(problem.check or str(problem), []).append(problem)
    kept: list[Problem] = []
    for found in by_check.values():
        rows = sum(1 + problem.more for problem in found)
        kept += [replace(found[0], more=rows - 1)] if rows > SHOWN else found
    return tuple(kept)
