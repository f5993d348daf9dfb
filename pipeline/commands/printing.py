"""All output of the commands: text from files and users is escaped before it is printed; progress of long ones."""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import typer

from facemill.manifests.printable import pace, printable

__all__ = ["echo", "echo_json", "echo_table", "progress"]

logger = logging.getLogger(__name__)

LINE_EVERY_S = 10.0  # between two plain lines of progress, in the log and without a terminal

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


@contextmanager
def progress(what: str, unit: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Show how much is done, the rate and the time left: a live line on a terminal, plain lines in a log.

    Yields a function of the number just done, and of the total.

    Args:
        what: the command does, for example "verifying".
        unit: what is counted, for example "samples".
        total: their number, if it is known before the work begins.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    shown = console.is_terminal and not quiet
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TextColumn("{task.fields[speed]}")
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=total, speed="")
    start = last_line = time.monotonic()

    def advance(done: int, total: int | None = None) -> None:
        nonlocal last_line
        bar.update(task, advance=done, total=total)
        now, state = time.monotonic(), bar.tasks[0]
        speed = pace(state.completed, state.total, now - start)
        bar.update(task, speed=speed)
        if now - last_line >= LINE_EVERY_S:
            last_line = now
            of = "" if state.total is None else f"/{state.total:.0f}"
            line = f"{what}: {state.completed:.0f}{of} {unit}  {speed}"
            logger.info(line)
            if not (quiet or shown):
                print(line, file=sys.stderr, flush=True)

    with bar if shown else nullcontext():  # rich 13 prints an empty line even after a disabled bar
        yield advance
