"""The commands that build a dataset, and those that read a built one."""

import logging
import os
import re
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from facemill import ConfigError
from facemill.manifests.printable import printable
from facemill.manifests.urls import is_url
from facemill.pipeline.commands.logfile import keep_log
from facemill.pipeline.commands.places import free_file, local_path
from facemill.pipeline.commands.printing import echo, echo_json, echo_table, progress
from facemill.pipeline.commands.shared import AsJson, Built, Exit, Overrides, Quiet, Roots
from facemill.pipeline.commands.watching import metrics_served

if TYPE_CHECKING:
    from facemill.pipeline.build.executors import Certificates
    from facemill.pipeline.build.job import BuildReport

__all__ = ["build", "export", "inspect", "verify"]

LOG_FILE = "build.log"


def build(
    videos: Annotated[Path, typer.Argument(help="Manifest, as `facemill scan` writes it.", parser=local_path)],
    out: Annotated[
        str,
        typer.Option(help="Folder of the dataset, or a URL such as s3://bucket/faces. Run with the same to resume."),
    ],
    recipe: Annotated[str, typer.Option(help="Name of a recipe (see `facemill recipes`) or a YAML file.")] = "default",
    overrides: Overrides = None,
    shard_format: Annotated[
        str | None, typer.Option("--format", help="parquet or webdataset; the same as --set shards.format=.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes on this machine.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Dask scheduler to use instead, such as tls://host:8786; its certificates are those of --tls-…, or of "
            "Dask's configuration (DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY)."
        ),
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Certificate of the scheduler's authority.", parser=local_path)
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="One's own certificate.", parser=local_path)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key.", parser=local_path)] = None,
    device: Annotated[str, typer.Option(help="For face detection: auto, cpu, cuda or cuda:N.")] = "auto",
    faces: Annotated[
        Path | None, typer.Option(help="Earlier build whose face detections to reuse.", parser=local_path)
    ] = None,
    roots: Roots = None,
    exclude: Annotated[
        Path | None,
        typer.Option(help="Text file of videos and samples to leave out: one id a line.", parser=local_path),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="dask, or sequential: build shards one by one in this process.")
    ] = "dask",
    part: Annotated[
        str | None,
        typer.Option("--shards", help="Build one of several equal parts, as a job of an array.", metavar="3/16"),
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Merge the parts that were built; build nothing.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also retry videos whose failure was caused by the file itself.")
    ] = False,
    max_failure_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of videos without samples; above it, exit code 3.")
    ] = 0.05,
    wait_limit: Annotated[
        float,
        typer.Option(min=1, help="End if scheduler, workers or a disk do not answer for so long.", metavar="SECONDS"),
    ] = 300,
    stall_limit: Annotated[
        float,
        typer.Option(
            min=10, help="Give a worker's shard to another one after so long without progress.", metavar="SECONDS"
        ),
    ] = 1800,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve metrics for Prometheus; 0 for a free port.")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address to serve them at.")] = "127.0.0.1",
    performance_report: Annotated[
        Path | None, typer.Option(help="Save Dask's own HTML report here.", parser=local_path)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Build a dataset of face crops with masks. If interrupted, run the same command again to resume."""
    from facemill.manifests import check_roots, read_videos
    from facemill.manifests.exclusion import list_ids
    from facemill.manifests.shards.dataset import BUILD_FILE, STATE_FOLDER
    from facemill.pipeline.build.job import build as run
    from facemill.pipeline.build.job import finish_build
    from facemill.pipeline.build.output import place_of
    from facemill.pipeline.build.patience import Limits, disks_watched
    from facemill.pipeline.build.progress import BuildProgress
    from facemill.pipeline.config.recipe import load_recipe

    changes = list(overrides or [])
    if shard_format is not None:
        changes.append(f"shards.format={shard_format}")
    settings = load_recipe(recipe, changes, purpose="build")
    if exclude is not None:
        ids = list_ids([*settings.filter.exclude, *list_ids(exclude)])
        settings = settings.model_copy(update={"filter": settings.filter.model_copy(update={"exclude": ids})})
    if performance_report is not None:
        mark = b"<title>Dask Performance Report</title>"
        free_file(performance_report, overwrite=True, is_own=lambda path: mark in path.read_bytes())
    place = place_of(out)
    if isinstance(place, Path):  # a URL cannot be appended to
        keep_log(place / STATE_FOLDER / LOG_FILE, mark=place / STATE_FOLDER / BUILD_FILE)
    elif metrics_port is not None:
        raise ConfigError("--metrics-port reads the state of a folder: with --out behind a URL, leave it out.")
    if finish and part is not None:
        raise ConfigError("--shards builds a part and --finish merges all parts: pass one of the two.")
    disks = {path.absolute() for path in (place, videos) if isinstance(path, Path)}
    with (
        BuildProgress(quiet=quiet or finish) as shown,
        disks_watched(disks, wait_limit, shown.warn, _end_at_once),
        metrics_served(Path(out), metrics_host, metrics_port),
    ):
        entries = read_videos(videos, roots or ())
        disks |= {Path(entry.root) for entry in entries if not is_url(entry.root)}
        if finish:
            report = finish_build(entries, settings, out, warn=shown.warn)
        else:
            check_roots(entries)
            report = run(
                entries,
                settings,
                out,
                executor=executor,
                workers=workers,
                scheduler=scheduler,
                certificates=_certificates(tls_ca, tls_cert, tls_key),
                device=device,
                faces=faces,
                part=_part(part),
                performance_report=performance_report,
                retry_failed=retry_failed,
                limits=Limits(wait_limit, stall_limit),
                watcher=shown,
            )
    if part is not None:
        echo(f"Part {part} is built. When all parts are built, run the command with --finish instead of --shards.")
    elif settings.mask.threshold != "auto":
        _print_coverage(report.out, settings.mask.threshold)
    _print_result(report, max_failure_rate)


def verify(
    folder: Built,
    threads: Annotated[int, typer.Option(min=1, help="Shards read in parallel.")] = 2,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Re-read a dataset and check everything: bytes, images, masks, geometry, splits, completeness.

    Framing of crops that predicts the label is a fault: in the median over a video, the AUC of the size of the crop in
    faces, or of the face's place in it, differs from 0.5 by more than 0.1 and three standard deviations. Possible but
    implausible findings, such as a face size that predicts the label, are warnings.
    """
    from facemill.manifests.checks.verify import verify as run

    with progress("verifying", "samples", quiet=quiet) as advance:
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
    out: Annotated[Path, typer.Option(help="New folder. Run with the same folder to resume.", parser=local_path)],
    to: Annotated[str, typer.Option(help="Layout to write: deepfakebench or deepfakebench-lmdb.")] = "deepfakebench",
    prefix: Annotated[
        str | None, typer.Option(help="Start of exported paths: --out as the training machine sees it.", metavar="PATH")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Shards written in parallel.")] = 4,
    quiet: Quiet = False,
) -> None:
    """Export a dataset to the layout that another project's training code reads."""
    from facemill.manifests.export import export as run
    from facemill.manifests.shards.dataset import read_dataset

    samples = sum(shard.rows for shard in read_dataset(folder).shards)
    with progress("exporting", "samples", samples, quiet=quiet) as advance:
        report = run(folder, out, to, prefix=prefix, threads=threads, on_samples=advance)
    echo(f"{report.samples} samples of {report.videos} videos -> {report.out}")
    for note in report.notes:
        echo(note)


def inspect(folder: Built, as_json: AsJson = False) -> None:
    """Show a dataset's contents, its failures with reasons, and the time spent per stage."""
    from facemill.manifests.shards.summary import summarise

    summary = summarise(folder)
    if as_json:
        echo_json({**asdict(summary), "verdict": summary.verdict()})
        return
    for part in summary.tables():
        echo_table(part.title, part.columns, part.rows)
    if verdict := summary.verdict():
        echo(verdict)


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    if not (match := re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)):
        raise ConfigError(f"--shards {text} is not a part of a build: for 16 parts, pass 1/16 to 16/16.")
    return int(match[1]), int(match[2])


def _certificates(ca: Path | None, cert: Path | None, key: Path | None) -> "Certificates | None":
    from facemill.pipeline.build.executors import Certificates

    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        raise ConfigError("--tls-ca, --tls-cert and --tls-key belong together: pass all three.")
    return Certificates(ca, cert, key)


def _end_at_once(message: str) -> NoReturn:
    """Leave this process, whose threads may be blocked for ever; logging may block, too."""
    print(f"Error: {printable(message)}", file=sys.stderr, flush=True)
    log = threading.Thread(target=logging.getLogger("facemill").info, args=(message,), daemon=True)
    log.start()
    log.join(1.0)
    os._exit(Exit.INTERRUPTED)


def _print_coverage(out: Path | str, threshold: float) -> None:
    """Print by method how much of the crops is covered by masks of a fixed threshold."""
    from facemill.manifests import MaskKind
    from facemill.manifests.shards.summary import summarise

    masks = [mask for mask in summarise(out).masks if mask.kind == MaskKind.DIFFERENCE and mask.mean is not None]
    if masks:
        covered = ", ".join(f"{mask.method} {mask.mean:.1%}" for mask in masks)
        echo(f"Mask coverage at threshold {threshold}: {covered}. --set mask.threshold=auto finds whole regions.")


def _print_result(report: "BuildReport", max_failure_rate: float) -> None:
    echo(
        f"{report.samples} samples of {report.videos - report.videos_without_samples} videos "
        f"in {report.shards} shards -> {report.out}"
    )
    if report.excluded:
        echo(f"{report.excluded} videos excluded, as failures.parquet records.")
    if report.failures:
        echo(
            f"{report.failures} failures recorded, {report.videos_without_samples} videos without a sample: "
            f"see failures.parquet, or `facemill inspect {report.out}`."
        )
    if report.retryable:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.retryable.items()))
        echo(f"Not caused by the videos: {reasons}. Fix this and run the same command again to retry them.")
    if report.failure_rate > max_failure_rate:
        echo(
            f"{report.failure_rate:.1%} of the videos yielded no sample: --max-failure-rate is {max_failure_rate:.1%}.",
            err=True,
        )
        raise typer.Exit(Exit.TOO_MANY_FAILURES)
