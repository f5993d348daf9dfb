"""What a run reports: a row per epoch in a CSV file and on the terminal, TensorBoard events, a progress bar."""

import csv
import io
import logging
import time
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch.utils.tensorboard import SummaryWriter

from facemill.manifests.printable import pace
from facemill.manifests.storage import write_atomically
from facemill.pipeline.runs.folder import LOG_FILE, LOGS_FOLDER

__all__ = ["EpochLog", "Row", "best_row"]

logger = logging.getLogger(__name__)

LINE_EVERY_S = 30.0  # between two plain lines within an epoch, in the log and without a terminal

Row = dict[str, float]
"""An epoch's number, learning rate, training loss and its terms, and validation metrics, by their names in log.csv."""


def best_row(rows: list[Row]) -> Row:
    """The row of the best epoch: highest validation AUC, then lowest validation loss."""
    return max(rows, key=lambda row: (row["val_auc"], -row["val_loss"]))


class EpochLog:
    """Reports a run as it goes on; a context manager.

    Args:
        run: the run's folder.
        epochs: of the whole run.
        steps: of an epoch; None if not known.
        progress: show a progress bar on a terminal, otherwise print a line per epoch.
        writes: false on ranks other than 0, which report nothing.
    """

    def __init__(self, run: Path, *, epochs: int, steps: int | None, progress: bool, writes: bool = True) -> None:
        self._run, self._epochs, self._writes = run, epochs, writes
        self._printed = progress and writes and not Console().is_terminal
        self._events = SummaryWriter(run / LOGS_FOLDER) if writes else None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
        shown = progress and writes and not self._printed
        self._bar = Progress(*columns, TextColumn("{task.fields[detail]}"), disable=not shown)
        self._task = self._bar.add_task("", total=steps, detail="")
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._bar.disable:  # rich 13 would end it with an empty line
            self._bar.stop()
        if self._events is not None:
            self._events.close()

    def start_epoch(self, epoch: int) -> None:
        """Restart the progress bar; epochs are shown counted from 1."""
        self._bar.reset(self._task, description=f"epoch {epoch + 1}/{self._epochs}")
        self._start = time.monotonic()

    def step(self) -> None:
        """Advance the progress bar."""
        self._bar.advance(self._task)

    def loss(self, loss: float, steps: int) -> None:
        """Report the loss of a batch, after this number of steps of the run."""
        now, task = time.monotonic(), self._bar.tasks[0]
        detail = f"loss {loss:.4f}  {pace(task.completed, task.total, now - self._start)}"
        self._bar.update(self._task, detail=detail)
        if now - self._last_line >= LINE_EVERY_S and self._writes:
            self._last_line = now
            of = "" if task.total is None else f"/{task.total:.0f}"
            line = f"{task.description}: {task.completed:.0f}{of} steps  {detail}"
            logger.info(line)
            if self._printed:
                print(line, flush=True)
        if self._events is not None:
            self._events.add_scalar("loss", loss, steps)

    def epoch(self, rows: list[Row]) -> None:
        """Report the last of the rows, and write all of them, so that a resumed run's file holds the whole run."""
        if self._events is None:
            return
        row = rows[-1]
        write_rows(self._run / LOG_FILE, rows)
        for name in row.keys() - {"epoch"}:
            self._events.add_scalar(name, row[name], int(row["epoch"]))
        self._events.flush()
        shown = "  ".join(f"{name} {row[name]:.4f}" for name in ("train_loss", "val_loss", "val_auc"))
        line = f"epoch {row['epoch'] + 1}/{self._epochs}  {shown}"
        logger.info(line)
        if self._printed:
            print(line)


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV; a column is empty in the epochs that lack it, since terms of the loss may begin later."""
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
