"""`facemill reproduce`: the jobs that measure rows of the papers' tables, and what the user is told of them."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from facemill import ConfigError
from facemill.manifests.urls import is_url
from facemill.pipeline.experiments.data import Catalogue, Given, Root, parse_places
from facemill.pipeline.experiments.jobs import Jobs
from facemill.pipeline.experiments.plan import make_plan
from facemill.pipeline.experiments.tables import leave_one_out, select_experiments

__all__ = ["DATA_FOLDER", "batch_lines", "describe", "prepare"]

DATA_FOLDER = "data"


def prepare(
    targets: Sequence[str],
    out: str | Path,
    *,
    data: Iterable[str] = (),
    roots: Iterable[str] = (),
    seeds: int = 1,
    overrides: Iterable[str] = (),
    unseen: bool = False,
    **options: Any,
) -> Jobs:
    """Plan rows of the papers' tables with the data at hand; nothing is written.

    Args:
        targets: papers (`etd`), tables (`etd/table2`), rows, or `all`.
        out: folder of all that is made.
        data: built datasets, as `NAME=FOLDER`.
        roots: datasets' folders of videos, as `NAME=FOLDER`; those that no built dataset serves are built from them.
        seeds: trainings of each row.
        overrides: recipe values, as `section.key=value`, applied after the rows'.
        unseen: in place of each row, train without each of its methods and test on that one.
        options: of `Jobs`.

    Raises:
        ConfigError: for an unknown target, dataset, setting or option, or a missing folder of videos.
        DatasetError: if a built dataset is unfinished or damaged.
    """
    out = Path(out).absolute()
    given = [Given(name, Path(folder).absolute()) for name, folder in parse_places(data, "--data")]
    for one in given:
        _ = one.recipe  # raises if it is not finished
    found = [Root(name, folder) for name, folder in parse_places(roots, "--root")]
    if missing := [root.folder for root in found if not is_url(root.folder) and not Path(root.folder).exists()]:
        raise ConfigError(f"--root names {missing[0]}, which is not there: give the folder of the dataset's videos.")
    rows = select_experiments(targets)
    plan = make_plan(leave_one_out(rows) if unseen else rows, seeds=seeds, overrides=overrides)
    return Jobs(plan, Catalogue(given, found, out / DATA_FOLDER), out, **options)


def describe(jobs: Jobs) -> Iterator[str]:
    """Yield lines that describe the work, what is done of it, and the rows that lack data or have other data."""
    plan = jobs.plan
    tables = len({experiment.table for experiment in plan.experiments})
    yield (
        f"{len(plan.experiments)} rows of {tables} tables: {len(plan.wanted())} datasets, "
        f"{len(plan.trainings)} trainings, {len(plan.tests)} evaluations"
    )
    kinds = Counter(name.partition("/")[0] for name in jobs.all)
    done = Counter(name.partition("/")[0] for name, job in jobs.all.items() if jobs.is_done(job))
    for kind, count in kinds.items():
        yield f"{kind:<8} {count} jobs, {done[kind]} of them done"
    other: dict[str, list[str]] = {}
    for experiment in plan.experiments:
        if lacking := jobs.lacking(experiment):
            yield f"{experiment.name} lacks {'; '.join(lacking)}"
        for sentence in jobs.differences(experiment):
            other.setdefault(sentence, []).append(experiment.name)
    for sentence, names in other.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"not the paper's data for {names[0]}{more}: {sentence}"


def batch_lines(jobs: Jobs, command: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the jobs that are not done: their names, those that must end before, and the command that runs each.

    The last one writes the tables.

    Args:
        command: the command that plans these jobs, to which `--job NAME` is added.
    """
    left = [job for job in jobs.all.values() if not jobs.is_done(job)]
    names = {job.name for job in left}
    for job in left:
        yield {
            "job": job.name,
            "after": [name for name in job.after if name in names],
            "command": shlex.join([*command, "--job", job.name]),
        }
    yield {"job": "tables", "after": sorted(names), "command": shlex.join([*command, "--job", "tables"])}
