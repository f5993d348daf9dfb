"""All output of the commands: text from files and users is escaped before it is printed."""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from facemill.manifests.printable import printable

__all__ = ["echo", "echo_json", "echo_table"]

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"[-+]?[\d.,]+ ?%?|-|")


def echo(line: object, *, err: bool = False) -> None:
    """Print and log a line."""
    text = printable(line)
    typer.echo(text, err=err)
    logger.info(text)


def echo_json(value: Any) -> None:
    """Print plain values as JSON, in ASCII."""
    typer.echo(json.dumps(value, indent=2, default=str))


def echo_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, numbers aligned to the right; cells are not interpreted as markup."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(cell) for cell in row] for row in rows]
    table = Table(
        title=Text(printable(title)), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for place, name in enumerate(columns):
        numbers = all(_NUMBER.fullmatch(row[place]) for row in cells)
        table.add_column(name, justify="right" if numbers else "left", no_wrap=numbers, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)
