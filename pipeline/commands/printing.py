"""All output of the commands: text from files and users is escaped before it is printed."""

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from facemill.manifests.printable import printable

__all__ = ["echo", "echo_json", "echo_table"]

logger = logging.getLogger(__name__)


def echo(line: object, *, err: bool = False) -> None:
    """Print and log a line."""
    text = printable(line)
    typer.echo(text, err=err)
    logger.info(text)


def echo_json(value: Any) -> None:
    """Print plain values as JSON, in ASCII."""
    typer.echo(json.dumps(value, indent=2, default=str))


def echo_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; cells are not interpreted as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=Text(printable(title)), title_justify="left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)
