"""The command that writes reports."""

from pathlib import Path
from typing import Annotated

import typer

from facemill import ConfigError
from facemill.pipeline.commands.places import free_file, whole_dataset
from facemill.pipeline.commands.printing import echo
from facemill.pipeline.commands.progress import progress
from facemill.pipeline.commands.shared import MayOverwrite, Out, Quiet

__all__ = ["report"]


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folder or URL of a built dataset, or folders of runs and evaluations.",
            metavar="DIR...",
            parser=whole_dataset,
        ),
    ],
    out: Out = Path("report.html"),
    rows: Annotated[int, typer.Option(min=1, help="Videos in each part of a contact sheet.")] = 8,
    overwrite: MayOverwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a page that shows a dataset: what it is, what failed, what to check, figures, and the worst crops.

    Of training runs and evaluations, side by side: what to check, tables, ROC, DET and training curves, and the hardest
    crops. The page is one file, and needs no network. If --out ends in .png, a dataset's contact sheet is drawn: real
    crop, fake crop, mask over the fake.
    """
    from facemill.manifests.shards.dataset import DATASET_FILE
    from facemill.pipeline.figures.report import draw_contact_sheet
    from facemill.pipeline.figures.sheet import is_sheet

    suffix, (folder, *others) = out.suffix.lower(), folders
    if suffix not in (".html", ".png"):
        raise ConfigError(f"{out} ends neither in .html nor in .png: name a page or a contact sheet.")
    if others and (suffix == ".png" or any((one / DATASET_FILE).exists() for one in folders)):
        raise ConfigError(
            "A dataset has a page or a contact sheet of its own: give one dataset, or runs and evaluations."
        )
    if suffix == ".png":
        free_file(out, overwrite=overwrite, is_own=is_sheet)
        draw_contact_sheet(folder, out, rows=rows)
        echo(f"contact sheet -> {out}")
        return
    from facemill.pipeline.report.page import is_report

    free_file(out, overwrite=overwrite, is_own=is_report)
    if _is_judged(folder):
        from facemill.pipeline.report.evaluations import report_evaluations

        report_evaluations(folders, out)
    else:
        from facemill.pipeline.report import report_dataset

        with progress("looking at crops", "crops", quiet=quiet) as advance:
            report_dataset(folder, out, on_crops=advance)
    echo(f"report -> {out}")


def _is_judged(folder: Path) -> bool:
    """Whether a folder has a run, an evaluation, or several seeds of one."""
    names = ("config.json", "scores.parquet")
    return any(any(folder.glob(f"{below}{name}")) for name in names for below in ("", "seed-*/"))
