"""What verification finds."""

from dataclasses import dataclass

__all__ = ["Problem", "VerifyReport"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a dataset.

    Attributes:
        file: path below the dataset's folder.
        message: what is wrong, without a full stop.
        row: position in the file, from 0, where one row is concerned.
        sample_id: of that row, where it has one.
    """

    file: str
    message: str
    row: int | None = None
    sample_id: str | None = None

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        sample = "" if self.sample_id is None else f" ({self.sample_id})"
        return f"{self.file}{row}{sample}: {self.message}."


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome of a verification.

    Attributes:
        problems: everything that is wrong; empty for a sound dataset.
        shards: shards read.
        samples: samples read from them and checked.
        videos: videos of the manifest accounted for.
    """

    problems: tuple[Problem, ...]
    shards: int = 0
    samples: int = 0
    videos: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems
