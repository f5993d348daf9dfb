"""The command that audits datasets."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facemill.pipeline.commands.places import free_file, local_path
from facemill.pipeline.commands.printing import echo, echo_json, echo_table
from facemill.pipeline.commands.progress import progress
from facemill.pipeline.commands.shared import AsJson, Data, Exit, MayOverwrite, Quiet

if TYPE_CHECKING:
    from facemill.pipeline.audit.findings import Audit

__all__ = ["audit"]


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
        _show(found)
        if out is not None:
            echo(f"page -> {out}")
    if strict and found.findings:
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def _show(found: "Audit") -> None:
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
