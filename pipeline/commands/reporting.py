"""The command that writes reports."""

from pathlib import Path
from typing import Annotated

import typer

from facemill import ConfigError
from facemill.pipeline.commands.places import free_file, local_path
from facemill.pipeline.commands.printing import echo
from facemill.pipeline.commands.shared import MayOverwrite, Out, Quiet, progress

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a built dataset.", metavar="DIR", parser=local_path)],
    out: Out = Path("report.html"),
    rows: Annotated[int, typer.Option(min=1, help="Videos in each part of a contact sheet.")] = 8,
    overwrite: MayOverwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a page that shows a dataset: what it is, what failed, what to check, figures, and the worst crops.

    The page is one file, and needs no network. If --out ends in .png, only a contact sheet is drawn: real crop, fake
    crop, mask over the fake.
    """
    from facemill.pipeline.figures.report import draw_contact_sheet
    from facemill.pipeline.figures.sheet import is_sheet

    suffix = out.suffix.lower()
    if suffix == ".png":
        free_file(out, overwrite=overwrite, is_own=is_sheet)
        draw_contact_sheet(folder, out, rows=rows)
        echo(f"contact sheet -> {out}")
        return
    if suffix != ".html":
        raise ConfigError(f"{out} ends neither in .html nor in .png: name a page or a contact sheet.")
    from facemill.pipeline.report import report_dataset
    from facemill.pipeline.report.page import is_report

    free_file(out, overwrite=overwrite, is_own=is_report)
    with progress("looking at crops", None, quiet=quiet) as advance:
        report_dataset(folder, out, on_crops=advance)
    echo(f"report -> {out}")
