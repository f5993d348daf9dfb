"""The papers' tables with our figures beside theirs, as Markdown, LaTeX, HTML and CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from facemill.manifests.storage import write_atomically
from facemill.pipeline.evaluate.evaluation import SCORES_FILE
from facemill.pipeline.evaluate.intervals import CONFIDENCE
from facemill.pipeline.experiments.figures import Figure
from facemill.pipeline.experiments.jobs import Jobs
from facemill.pipeline.experiments.measure import Measured, Scores, count_size, summarise
from facemill.pipeline.experiments.tables import Experiment
from facemill.pipeline.figures.page import PageTable, in_latex, page_part, render_page

__all__ = ["Line", "Table", "make_tables", "write_tables"]

_COLUMNS = ("row", "figure", "paper", "ours", "spread", "interval", "difference", "")
_PACKAGE = "facemill.pipeline.experiments"


@dataclass(frozen=True)
class Line:
    """A figure of a row.

    Attributes:
        paper, ours: the paper's figure and ours; None if it is not printed, or not measured.
        deviates: whether the paper's figure is outside the interval, or that is not known; of a size, whether the
            last digit that the paper prints differs.
    """

    row: str
    figure: str
    paper: float | None
    ours: Measured | None

    @property
    def difference(self) -> float | None:
        return None if self.ours is None or self.paper is None else self.ours.mean - self.paper

    @property
    def deviates(self) -> bool:
        if self.ours is None or self.paper is None:
            return False
        if self.ours.interval is not None:
            return not self.ours.interval[0] <= self.paper <= self.ours.interval[1]
        digits = len(f"{self.paper:g}".partition(".")[2])
        return self.ours.seeds > 0 or abs(self.ours.mean - self.paper) > 0.5 * 10.0**-digits

    def cells(self) -> list[str]:
        """Its text, a column each."""
        shown = [self.row, self.figure, "" if self.paper is None else f"{self.paper:g}"]
        if self.ours is None:
            return [*shown, "not measured", "", "", "", ""]
        ours = self.ours
        digits = 4 if self.figure.endswith("log-loss") else 2
        spread = "" if ours.spread is None else f"{ours.spread:.{digits}f}"
        interval = "" if ours.interval is None else " to ".join(f"{bound:.{digits}f}" for bound in ours.interval)
        difference = "" if self.difference is None else f"{self.difference:+.{digits}f}"
        numbers = [f"{ours.mean:.{digits}f}", spread, interval, difference]
        return [*shown, *numbers, "deviates" if self.deviates else ""]


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        notes: of the paper's table, and on each row that lacks something or was not run as the paper did.
    """

    name: str
    paper: str
    caption: str
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_tables(jobs: Jobs, failed: Mapping[str, str] | None = None) -> list[Table]:
    """Measure all figures of a plan for which there are scores; `failed` tells why jobs failed, by name."""
    read = lru_cache(maxsize=2)(Scores)  # figures of one evaluation follow each other
    return [
        _table(list(rows), jobs, failed or {}, read)
        for _, rows in groupby(jobs.plan.experiments, key=lambda experiment: experiment.table)
    ]


def _table(rows: list[Experiment], jobs: Jobs, failed: Mapping[str, str], read: Callable[[Path], Scores]) -> Table:
    first, seeds = rows[0], max(map(len, jobs.plan.runs.values()))
    table = Table(first.table, first.paper, first.caption, notes=list(first.notes))
    remarks: dict[str, list[str]] = {}
    for experiment in rows:
        row = experiment.name.rpartition("/")[2]
        for figure in experiment.figures:
            table.lines.append(Line(row, figure.label, figure.paper, _measure(experiment, figure, jobs, read)))
        for remark in _remarks(experiment, jobs, failed):
            remarks.setdefault(remark, []).append(row)
    for remark, named in remarks.items():
        table.notes.append(f"{'all rows' if len(named) == len(rows) > 1 else ', '.join(named)}: {remark}")
    if jobs.plan.overrides:
        table.notes.append(f"Not the paper's settings: {' '.join(jobs.plan.overrides)}.")
    table.notes.append(
        f"Intervals are of {CONFIDENCE:.0%}, by resampling of the test videos"
        + (f" and Student's t of {seeds} seeds." if seeds > 1 else "; with one seed they lack the spread of trainings.")
    )
    return table


def _measure(experiment: Experiment, figure: Figure, jobs: Jobs, read: Callable[[Path], Scores]) -> Measured | None:
    if not figure.tested:
        return count_size(experiment.detector, experiment.options, figure.metric)
    found = []
    for training in jobs.plan.runs[experiment.name]:
        evaluations = {jobs.plan.evaluation(experiment, training, part) for part in figure.tested}
        [evaluation] = evaluations  # the parts of a mean are tested on one dataset
        job = jobs.all.get(f"evaluate/{evaluation.name}")
        if job is not None and jobs.is_done(job):
            found.append(read(jobs.scores_folder(evaluation) / SCORES_FILE).measure(figure))
    known = [one for one in found if one is not None]
    return summarise(known) if known else None


def _remarks(experiment: Experiment, jobs: Jobs, failed: Mapping[str, str]) -> Iterator[str]:
    yield from (f"lacks {data}." for data in jobs.lacking(experiment))
    yield from (f"not the paper's data: {sentence}" for sentence in jobs.differences(experiment))
    runs = jobs.plan.runs[experiment.name]
    yield from (f"{job} failed: {why}" for job, why in failed.items() if any(run in job for run in runs))


def write_tables(tables: list[Table], folder: Path) -> list[Path]:
    """Write a page per paper in each format; returns the Markdown pages."""
    pages = []
    for page, group in groupby(tables, key=lambda table: table.name.partition("/")[0]):
        shown = list(group)
        for suffix, escape in {"md": _in_markdown, "tex": in_latex}.items():
            made = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=escape)
            template = made.from_string(page_part(f"tables.{suffix}", _PACKAGE))
            text = template.render(tables=shown, columns=_COLUMNS)
            write_atomically(folder / f"{page}.{suffix}", text.encode())
        write_atomically(folder / f"{page}.csv", _csv(shown).encode())
        write_atomically(folder / f"{page}.html", _html(shown))
        pages.append(folder / f"{page}.md")
    return pages


def _csv(tables: list[Table]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("table", "row", "figure", "paper", "ours", "spread", "low", "high", "difference", "deviates", "seeds")
    writer.writerow(head)
    for table in tables:
        for line in table.lines:
            ours = line.ours
            measured = ("",) * 4 if ours is None else (ours.mean, ours.spread, *(ours.interval or ("", "")))
            rest = (line.difference, line.deviates, "" if ours is None else ours.seeds)
            writer.writerow([table.name, line.row, line.figure, line.paper, *measured, *rest])
    return text.getvalue()


def _html(tables: list[Table]) -> bytes:
    forms = {column: "s" if column in _NUMBERS else "" for column in (*_COLUMNS[:-1], "verdict")}
    shown = [
        (PageTable(f"{table.name}: {table.caption}", forms, [line.cells() for line in table.lines]), table.notes)
        for table in tables
    ]
    paper, values = tables[0].paper, {"tables": shown}
    return render_page(paper, "tables.html", values, package=_PACKAGE, generator="facemill reproduce")


def _in_markdown(value: Any) -> str:
    return str(value).replace("|", r"\|")


_NUMBERS = {"paper", "ours", "spread", "difference"}
