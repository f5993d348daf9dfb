"""The commands on datasets: building them, and what can be done with a built one."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facemill import ConfigError
from facemill.pipeline.commands.logfile import keep_log
from facemill.pipeline.commands.places import free_file, local_path
from facemill.pipeline.commands.printing import echo, echo_json, echo_table
from facemill.pipeline.commands.shared import AsJson, Built, Exit, MayOverwrite, Out, Overrides, Quiet, progress

if TYPE_CHECKING:
    from facemill.pipeline.build.job import BuildReport

__all__ = ["build", "export", "inspect", "report", "verify"]

LOG_FILE = "build.log"


def build(
    videos: Annotated[Path, typer.Argument(help="Manifest, as `facemill scan` writes it.", parser=local_path)],
    out: Annotated[
        Path, typer.Option(help="Folder of the dataset. Run again with the same to resume.", parser=local_path)
    ],
    recipe: Annotated[str, typer.Option(help="Name of a recipe (see `facemill recipes`) or a YAML file.")] = "default",
    overrides: Overrides = None,
    shard_format: Annotated[
        str | None, typer.Option("--format", help="parquet or webdataset; short for --set shards.format=.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes on this machine.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Dask scheduler to use instead, such as tcp://host:8786; certificates for tls:// are named by "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="For face detection: auto, cpu, cuda or cuda:N.")] = "auto",
    faces: Annotated[
        Path | None, typer.Option(help="Earlier build whose face detections to reuse.", parser=local_path)
    ] = None,
    roots: Annotated[
        list[str] | None,
        typer.Option("--root", help="Where the videos are now; of several roots, each by name.", metavar="[NAME=]DIR"),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="dask, or sequential: one shard after another in this process.")
    ] = "dask",
    part: Annotated[
        str | None,
        typer.Option("--shards", help="Build one of several equal parts, as in a job array.", metavar="3/16"),
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Merge what was built in parts; build nothing.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again also videos that failed by their own fault.")
    ] = False,
    max_failure_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of videos that may give no sample before the exit code says so.")
    ] = 0.05,
    performance_report: Annotated[
        Path | None, typer.Option(help="Save Dask's own HTML report here.", parser=local_path)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Build a dataset of face crops with masks. Killed at any moment, the same command resumes it."""
    from facemill.manifests import check_roots, read_videos
    from facemill.pipeline.build.claim import BUILD_FILE
    from facemill.pipeline.build.job import build as run
    from facemill.pipeline.build.job import finish_build
    from facemill.pipeline.build.progress import BuildProgress
    from facemill.pipeline.build.state import state_folder
    from facemill.pipeline.config.recipe import load_recipe

    changes = list(overrides or [])
    if shard_format is not None:
        changes.append(f"shards.format={shard_format}")
    settings = load_recipe(recipe, changes, purpose="build")
    if performance_report is not None:
        free_file(performance_report, overwrite=True, is_own=lambda path: b"bokeh" in path.read_bytes())
    keep_log(state_folder(out) / LOG_FILE, mark=state_folder(out) / BUILD_FILE)
    entries = read_videos(videos, roots or ())
    if finish and part is not None:
        raise ConfigError("--shards builds a part and --finish merges all of them: give one of the two.")
    if finish:
        report = finish_build(entries, settings, out)
    else:
        check_roots(entries)
        with BuildProgress(quiet=quiet) as shown:
            report = run(
                entries,
                settings,
                out,
                executor=executor,
                workers=workers,
                scheduler=scheduler,
                device=device,
                faces=faces,
                part=_part(part),
                performance_report=performance_report,
                retry_failed=retry_failed,
                watcher=shown,
            )
    if part is not None:
        echo(f"This is part {part}. When all parts are built, merge them: the same command, --finish for --shards.")
    elif settings.mask.threshold != "auto":
        _tell_coverage(report.out, settings.mask.threshold)
    _tell(report, max_failure_rate)


def verify(
    folder: Built,
    threads: Annotated[int, typer.Option(min=1, help="Shards read at once.")] = 2,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Re-read a dataset and check everything: bytes, pictures, masks, geometry, splits, completeness.

    What is possible but not plausible, such as a crop scale that tells real from fake, is a warning.
    """
    from facemill.manifests.checks.verify import verify as run

    with progress("verifying", None, quiet=quiet) as advance:
        checked = run(folder, threads=threads, on_samples=advance)
    if as_json:
        echo_json({**asdict(checked), "ok": checked.ok})
    else:
        for problem in checked.problems:
            echo(problem)
        for warning in checked.warnings:
            echo(f"warning: {warning}")
        what = f"{checked.samples} samples in {checked.shards} shards, {checked.videos} videos"
        echo(f"{what}: {len(checked.problems)} problems, {len(checked.warnings)} warnings")
    if not checked.ok or (strict and checked.warnings):
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def export(
    folder: Built,
    out: Annotated[Path, typer.Option(help="New folder. Run again with the same to go on.", parser=local_path)],
    to: Annotated[str, typer.Option(help="Whose training is to read it: deepfakebench.")] = "deepfakebench",
    prefix: Annotated[
        str | None, typer.Option(help="What its paths begin with: --out as that training sees it.", metavar="PATH")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Shards written at once.")] = 4,
    quiet: Quiet = False,
) -> None:
    """Write a dataset in the folders and files that another project's training reads."""
    from facemill.manifests.export import export as run
    from facemill.manifests.shards.dataset import read_dataset

    samples = sum(shard.rows for shard in read_dataset(folder).shards)
    with progress("exporting", samples, quiet=quiet) as advance:
        report = run(folder, out, to, prefix=prefix, threads=threads, on_samples=advance)
    echo(f"{report.samples} samples of {report.videos} videos -> {report.out}")
    for note in report.notes:
        echo(note)


def inspect(folder: Built, as_json: AsJson = False) -> None:
    """Show what a dataset holds, what failed and why, and where the time went."""
    from facemill.manifests.shards.summary import summarise

    summary = summarise(folder)
    if as_json:
        echo_json({**asdict(summary), "verdict": summary.verdict()})
        return
    for part in summary.tables():
        echo_table(part.title, part.columns, part.rows)
    if verdict := summary.verdict():
        echo(verdict)


def report(folder: Built, out: Out = Path("contact-sheet.png"), rows: int = 8, overwrite: MayOverwrite = False) -> None:
    """Draw a contact sheet: real crop, fake crop, mask over the fake."""
    from facemill.pipeline.figures.report import draw_contact_sheet

    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out} does not end in .png: give the name of a picture.")
    free_file(out, overwrite=overwrite, is_own=lambda path: path.read_bytes()[:4] == b"\x89PNG")
    draw_contact_sheet(folder, out, rows=rows)
    echo(f"contact sheet -> {out}")


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if not (match := re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)):
        raise ConfigError(f"--shards {text} is no part of a build: say 1/16 to 16/16, for 16 parts.")
    return int(match[1]), int(match[2])


def _tell_coverage(out: Path, threshold: float) -> None:
    """What a fixed threshold finds of the forged regions, method by method."""
    from facemill.manifests import MaskKind
    from facemill.manifests.shards.summary import summarise

    masks = [mask for mask in summarise(out).masks if mask.kind == MaskKind.DIFFERENCE and mask.mean is not None]
    if masks:
        covered = ", ".join(f"{mask.method} {mask.mean:.1%}" for mask in masks)
        echo(f"Masks above {threshold} cover of the crops: {covered}. --set mask.threshold=auto draws whole regions.")


def _tell(report: "BuildReport", max_failure_rate: float) -> None:
    echo(
        f"{report.samples} samples of {report.videos - report.barren} videos in {report.shards} shards -> {report.out}"
    )
    if report.failures:
        echo(
            f"{report.failures} failures recorded, {report.barren} videos without a sample: "
            f"see failures.parquet, or `facemill inspect {report.out}`."
        )
    if report.retryable:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.retryable.items()))
        echo(f"Not final, since no video's fault: {reasons}. Mend that, and the same command tries them again.")
    if report.failure_rate > max_failure_rate:
        echo(
            f"{report.failure_rate:.1%} of the videos gave no sample: --max-failure-rate is {max_failure_rate:.1%}.",
            err=True,
        )
        raise typer.Exit(Exit.TOO_MANY_FAILURES)
