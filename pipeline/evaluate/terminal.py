"""Tables of numbers for the terminal, with the bounds of their intervals below them."""

from collections.abc import Iterable, Sequence
from itertools import repeat

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from facemill.manifests.printable import printable
from facemill.pipeline.evaluate.intervals import Interval

__all__ = ["add_bounds", "name_cell", "number_cells", "number_table"]

_DIGITS = ".3f"


def number_table(head: str, columns: Iterable[str], title: str | Text | None = None) -> Table:
    """A table of names, below `head`, and of numbers; empty."""
    table = Table(head, title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def name_cell(name: str) -> Text:
    """A name as a cell or title, not taken for markup."""
    return Text(printable(name))


def number_cells(values: Iterable[float | None], formats: Iterable[str] = repeat(_DIGITS)) -> list[str]:
    return ["-" if value is None else format(value, form) for value, form in zip(values, formats, strict=False)]


def add_bounds(
    table: Table, intervals: Sequence[Interval | None], counts: int, formats: Iterable[str] = repeat(_DIGITS)
) -> None:
    """Add a line for the lower bounds of intervals, and one for the upper, below `counts` columns without intervals."""
    for place, bound in enumerate(("low", "high")):
        bounds = (None if interval is None else interval[place] for interval in intervals)
        cells = [*[""] * counts, *number_cells(bounds, formats)]
        table.add_row(Text(f"  95 % {bound}", style="dim"), *cells)
