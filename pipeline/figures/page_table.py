"""A table of a page: shown with aligned numbers, and saved as CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facemill.manifests.printable import printable
from facemill.pipeline.figures.page import file_url

__all__ = ["PageTable", "in_latex"]

_LACKING = "\N{EN DASH}"


@dataclass(frozen=True)
class PageTable:
    """A table.

    Attributes:
        columns: formats of numbers by the columns' names, with their units; empty for a column of text.
        rows: numbers, text, or None for a value that there is none of.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]

    @property
    def file_name(self) -> str:
        """Its title as a name of files, without a suffix."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def is_number(self, column: int) -> bool:
        return bool([*self.columns.values()][column])

    def cells(self) -> list[list[str]]:
        return [
            [_LACKING if value is None else format(value, form) if form and not isinstance(value, str) else str(value)
             for value, form in zip(row, self.columns.values(), strict=True)]
            for row in self.rows
        ]  # fmt: skip

    def csv_url(self) -> str:
        """The table as CSV: numbers as they are, and text that no program of spreadsheets takes for a formula."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in (self.columns, *self.rows):
            writer.writerow([_no_formula(printable(cell)) if isinstance(cell, str) else cell for cell in row])
        return file_url(text.getvalue().encode(), "text/csv")

    def latex_url(self) -> str:
        """The table as a `tabular` of LaTeX."""
        kinds = "".join("r" if form else "l" for form in self.columns.values())
        lines = [" & ".join(in_latex(printable(cell)) for cell in row) for row in ([*self.columns], *self.cells())]
        lines.insert(1, r"\hline")
        body = "\n".join(line if line == r"\hline" else rf"{line} \\" for line in lines)
        text = f"% {printable(self.title)}\n\\begin{{tabular}}{{{kinds}}}\n{body}\n\\end{{tabular}}\n"
        return file_url(text.encode(), "application/x-tex")


def in_latex(value: Any) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", _LACKING: "--"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in str(value))


def _no_formula(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
