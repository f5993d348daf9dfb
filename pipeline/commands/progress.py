"""Progress of a command: a live line on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from facemill.manifests.printable import pace

__all__ = ["LINE_EVERY_S", "progress"]

logger = logging.getLogger(__name__)

LINE_EVERY_S = 10.0
"""Seconds between two plain lines, in the log and without a terminal."""


@contextmanager
def progress(what: str, unit: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Show how much is done, the rate and the time left; yields a function of the number just done, and of the total.

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
