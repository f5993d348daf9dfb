"""The command that degrades videos."""

from pathlib import Path
from typing import Annotated

import typer

from facemill import ConfigError
from facemill.pipeline.commands.interrupts import interrupts
from facemill.pipeline.commands.places import free_folder, local_path
from facemill.pipeline.commands.printing import echo
from facemill.pipeline.commands.progress import progress
from facemill.pipeline.commands.shared import Exit, Quiet, Roots

__all__ = ["degrade"]


def degrade(
    videos: Annotated[Path, typer.Argument(help="Manifest, as `facemill scan` writes it.", parser=local_path)],
    out: Annotated[
        Path, typer.Option(help="Folder of the new videos. Run with the same folder to resume.", parser=local_path)
    ],
    crf: Annotated[str, typer.Option(help="Rate factors, 0 to 51.", metavar="N,...")] = "23,40",
    codec: Annotated[str, typer.Option(help="h264.")] = "h264",
    resize: Annotated[float, typer.Option(help="Factor of both sides, up to 1.")] = 1.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Videos at a time, one thread each.")] = None,
    roots: Roots = None,
    quiet: Quiet = False,
) -> None:
    """Encode the videos of a manifest again in worse qualities, such as c23 and c40, and write their manifest.

    Pairs, splits and ground-truth masks carry over; frames keep their number and times. Videos that cannot be read are
    left out and listed in failures.parquet (exit code 3). If interrupted, run the same command again to resume.
    """
    from facemill.manifests import check_roots, read_videos
    from facemill.manifests.shards.dataset import VIDEOS_FILE
    from facemill.pipeline.degrade import Degradation
    from facemill.pipeline.degrade import degrade as run
    from facemill.pipeline.degrade.degrade import MARK

    if codec != "h264":
        raise ConfigError(f"Videos are encoded as h264, not as {codec}.")
    if not all(word.isdecimal() for word in crf.split(",")):
        raise ConfigError(f"--crf {crf} is no list of whole numbers: write it as 23,40.")
    degradations = [Degradation(int(word), resize) for word in crf.split(",")]
    free_folder(out, overwrite=True, is_own=lambda folder: (folder / MARK).is_file())
    entries = read_videos(videos, roots or ())
    check_roots(entries)
    interrupts.advice = "Interrupted: run the same command again to continue."
    with progress("encoding", "videos", len(entries), quiet=quiet) as advance:
        report = run(entries, out, degradations, workers=workers, on_videos=advance)
    for failure in report.failures:
        echo(f"{failure.video_id}: {failure.message}", err=True)
    kept = f" ({report.skipped} files of an earlier run)" if report.skipped else ""
    echo(f"{len(report.entries)} videos{kept} -> {out / VIDEOS_FILE}")
    if report.failures:
        echo(f"{len(report.failures)} videos could not be encoded: see {out / 'failures.parquet'}.", err=True)
        raise typer.Exit(Exit.TOO_MANY_FAILURES)
