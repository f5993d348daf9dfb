"""The commands that show and judge datasets: reports, audits, and the gallery in a browser."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facemill import ConfigError
from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.places import free_file, local_path, whole_dataset
from facemill.pipeline.commands.printing import echo, echo_json, echo_table, progress
from facemill.pipeline.commands.shared import AsJson, Built, Data, Exit, MayOverwrite, Out, Quiet, Roots

if TYPE_CHECKING:
    from facemill.pipeline.audit.findings import Audit

__all__ = ["audit", "report", "view"]


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


def audit(
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="HTML page to write.", parser=local_path, metavar="PAGE.html")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Crops of each video whose pixels are looked at.")] = 8,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if anything is found.")] = False,
    overwrite: MayOverwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look for what makes results on datasets worthless, and say how sure it is.

    Equal and nearly equal crops, videos, originals and subjects in two splits, also of two datasets; format, size,
    blur, brightness, compression or position that predict the label, by a small classifier that does not see the face
    (a finding if the 95 % interval of its AUC lies above 0.6); empty masks; reals that equal fakes; missing classes.
    """
    from facemill.pipeline.audit.audit import audit as run
    from facemill.pipeline.audit.page import is_page, write_page

    if out is not None:
        free_file(out, overwrite=overwrite, is_own=is_page)
    with progress("looking at crops", "crops", quiet=quiet) as advance:
        found = run(data, frames=frames, on_crops=advance)
    if out is not None:
        write_page(found, out)
    if as_json:
        duplicates = [
            {name: value for name, value in asdict(one).items() if name != "images"} for one in found.duplicates
        ]
        echo_json({**asdict(found), "duplicates": duplicates})
    else:
        _show_audit(found)
        if out is not None:
            echo(f"page -> {out}")
    if strict and found.findings:
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def _show_audit(found: "Audit") -> None:
    """Print tables; of several datasets, with their names."""
    from facemill.pipeline.audit.page import interval, verdict

    several = len(found.datasets) > 1

    def cells(name: str, *rest: object) -> tuple[object, ...]:
        return (name, *rest) if several else rest

    rows = [
        cells(one.dataset, one.split, one.method, one.quality, one.videos, one.crops, f"{one.crops_per_video:.1f}",
              f"{one.faces_per_video:.2f}")
        for one in found.counts
    ]  # fmt: skip
    heads = ("split", "method", "quality", "videos", "crops", "crops per video", "faces per video")
    echo_table("Videos and crops", [*map(str, cells("dataset", *heads))], rows)
    for name, shortcuts in found.shortcuts.items():
        rows = [(one.column, one.method, f"{one.auc:.2f}", interval(one), verdict(one)) for one in shortcuts]
        title = f"What predicts the label without the face{f': {name}' if several else ''}"
        echo_table(title, ("column", "fakes", "AUC", "95 % interval", ""), rows)
    if found.findings:
        rows = [cells(one.dataset or "all", one.message, one.sure) for one in found.findings]
        echo_table("Findings", [*map(str, cells("dataset", "what", "how sure"))], rows)
    for note in found.notes:
        echo(f"Note: {note}.")
    echo(f"{found.looked_at} of {found.crops} crops looked at: {len(found.findings)} findings")


def view(
    folder: Built,
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder of a finished evaluation, whose scores are shown.", parser=local_path)
    ] = None,
    roots: Roots = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0 for a free one.")] = 0,
    stop_after: Annotated[
        float | None, typer.Option(min=0, help="Stop if nothing is requested for so many seconds.", metavar="SECONDS")
    ] = None,
) -> None:
    """Show a dataset in a browser: a gallery to filter, sort and select from, and a timeline of each video.

    Prints the address to open, and serves it on this machine only, until Ctrl-C. Nothing is written. A selection is
    saved by the browser, as a list that `facemill build --exclude` takes.
    """
    import asyncio

    import pyarrow.compute as pc

    from facemill.pipeline.view.catalogue import Catalogue
    from facemill.pipeline.view.images import SourceFrames
    from facemill.pipeline.view.server import Viewed, serve

    interrupts.advice = "Interrupted: the pages are no longer served."
    scores = None
    if evaluation is not None:
        from facemill.pipeline.evaluate.evaluation import SCORES_FILE
        from facemill.pipeline.evaluate.scores import NO_CORRUPTION, read_scores

        table = read_scores(evaluation / SCORES_FILE)
        table = table.filter(pc.field("corruption") == NO_CORRUPTION)
        scores = table["sample_id"].combine_chunks(), table["score"].combine_chunks()
    catalogue = Catalogue(folder, scores)
    viewed = Viewed(catalogue, SourceFrames(folder, catalogue.info, roots or ()))
    echo(f"{len(catalogue):,} samples of {folder}, until Ctrl-C:")
    asyncio.run(serve(viewed, port=port, idle_s=stop_after, ready=echo))
