"""The command that measures the papers' tables."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.places import free_folder, local_path
from facemill.pipeline.commands.printing import echo
from facemill.pipeline.commands.shared import Exit, Overrides

__all__ = ["reproduce"]

_Places = list[str] | None
TABLES = "tables"  # the folder of the tables, and the job that writes them


def reproduce(
    targets: Annotated[
        list[str], typer.Argument(help="Papers (etd), tables (etd/table2), rows, or all.", metavar="TARGET...")
    ],
    out: Annotated[Path, typer.Option(help="Folder of all that is made; the same one to resume.", parser=local_path)],
    data: Annotated[_Places, typer.Option(help="Built dataset; may be repeated.", metavar="NAME=DIR")] = None,
    roots: Annotated[
        _Places, typer.Option("--root", help="Folder of videos to build from; may be repeated.", metavar="NAME=DIR")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 1,
    unseen: Annotated[
        bool,
        typer.Option("--leave-one-out", help="In place of each row, train without each method and test on that one."),
    ] = False,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, what data lack, and estimates of time and disk.")
    ] = False,
    list_jobs: Annotated[
        bool, typer.Option("--jobs", help="Print the jobs that are left, a line of JSON each, for a batch system.")
    ] = False,
    job: Annotated[str | None, typer.Option(help="Run this one of those jobs.", metavar="NAME")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Data loader processes per device.")] = None,
) -> None:
    """Measure rows of the papers' tables: build, train and evaluate what they need, each once, and write the tables.

    NAME is that of a dataset, as for scan. A row whose data differ from the paper's is run, and the table says so.
    """
    from facemill.pipeline.experiments.reproduce import batch_lines, describe, prepare

    interrupts.advice = "Interrupted: run the same command again to continue."
    made = prepare(
        targets,
        out,
        data=data or (),
        roots=roots or (),
        seeds=seeds,
        overrides=overrides or (),
        unseen=unseen,
        device=device,
        workers=workers,
    )
    if list_jobs:
        command = ["facemill", *(argument for argument in sys.argv[1:] if argument not in ("--jobs", "--dry-run"))]
        for one in batch_lines(made, command):
            typer.echo(json.dumps(one))
        return
    if job is None:
        for line in describe(made):
            echo(line)
    if dry_run:
        from facemill.pipeline.experiments.estimate import estimate

        for line in estimate(made):
            echo(line)
        return
    free_folder(out, overwrite=True, is_own=lambda folder: (folder / "done").is_dir())
    (out / "done").mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    if job not in (None, TABLES):
        made.run(job)
        echo(f"{job}: done")
        return
    if job is None:
        for name, why in made.run_all():
            echo(f"{name}: done" if why is None else f"{name} failed: {why}", err=why is not None)
            failed |= {} if why is None else {name: why}
    from facemill.pipeline.experiments.results import make_tables, write_tables

    for page in write_tables(make_tables(made, failed), out / TABLES):
        echo(f"tables -> {page}, and as .tex, .html and .csv")
    if failed:
        echo(f"{len(failed)} jobs failed: run the same command again to try them again.", err=True)
        raise typer.Exit(Exit.TOO_MANY_FAILURES)
