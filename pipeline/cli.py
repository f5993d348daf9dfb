"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

import signal
import sys
import traceback
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from facemill import ConfigError, FacemillError, __version__

if TYPE_CHECKING:
    from pipeline.build import BuildReport

__all__ = ["Exit", "app", "main"]


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    INTERNAL_ERROR = 1
    USAGE = 2
    TOO_MANY_FAILURES = 3
    INTERRUPTED = 4


app = typer.Typer(
    name="facemill",
    help="Raw deepfake video datasets in, training-ready and checked face datasets out.",
    epilog="Exit codes: 0 done, 1 internal error, 2 wrong usage or input, 3 too many failures or a damaged dataset, "
    "4 interrupted (run the same command again to go on).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Out = Annotated[Path, typer.Option(help="Where to write.")]
_Built = Annotated[Path, typer.Argument(help="Folder of a built dataset.", metavar="DIR")]
TYPER_INTERRUPTED = 130
"""What typer makes of a KeyboardInterrupt."""
_debug = False


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    global _debug
    _debug = debug


@app.command()
def scan(
    dataset: Annotated[
        str, typer.Argument(help="Dataset: ffpp (FaceForensics++ and DFD) or csv (a table of your own).")
    ],
    root: Annotated[str, typer.Argument(help="The dataset's folder, or an fsspec URL; for csv, the table.")],
    out: _Out = Path("videos.parquet"),
    quality: Annotated[str | None, typer.Option(help="Compression level: raw, c23 or c40.")] = None,
    split: Annotated[
        str, typer.Option(help="official, identity:80/10/10, all-train, all-val or all-test.")
    ] = "official",
    seed: Annotated[int, typer.Option(help="Seed of an identity split.")] = 0,
    real: Annotated[
        str | None, typer.Option(help="For csv on a folder: pattern of the real videos.", metavar="GLOB")
    ] = None,
    fake: Annotated[str | None, typer.Option(help="For csv on a folder: pattern of the fakes.", metavar="GLOB")] = None,
) -> None:
    """List a dataset's videos, pair fakes with originals, and write the manifest."""
    import manifests

    if (real is None) != (fake is None) or (real is not None and dataset != "csv"):
        raise ConfigError("--real and --fake go together, with the dataset csv and a folder.")
    if real is not None and fake is not None:
        report = manifests.from_globs(root, real, fake, split=split, seed=seed)
    else:
        report = manifests.scan(dataset, root, quality=quality, split=split, seed=seed)
    for line in report.lines():
        typer.echo(line)
    manifests.write_videos(report.entries, out)
    typer.echo(f"{len(report.entries)} videos -> {out}")


@app.command()
def build(
    videos: Annotated[Path, typer.Argument(help="Manifest, as `facemill scan` writes it.")],
    out: Annotated[Path, typer.Option(help="Folder of the dataset. Run again with the same to resume.")],
    recipe: Annotated[str, typer.Option(help="Name of a recipe (see `facemill recipes`) or a YAML file.")] = "default",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe value; may be repeated.", metavar="KEY=VALUE")
    ] = None,
    shard_format: Annotated[
        str | None, typer.Option("--format", help="parquet or webdataset; short for --set shards.format=.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes on this machine.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler to use instead, such as tcp://host:8786.")
    ] = None,
    device: Annotated[str, typer.Option(help="For face detection: auto, cpu, cuda or cuda:N.")] = "auto",
    faces: Annotated[Path | None, typer.Option(help="Earlier build whose face detections to reuse.")] = None,
    max_failure_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of videos that may give no sample before the exit code says so.")
    ] = 0.05,
    performance_report: Annotated[Path | None, typer.Option(help="Save Dask's own HTML report here.")] = None,
) -> None:
    """Build a dataset of face crops with masks. Killed at any moment, the same command resumes it."""
    from pipeline.build import build as run
    from pipeline.progress import BuildProgress
    from pipeline.recipe import load_recipe

    changes = list(overrides or [])
    if shard_format is not None:
        changes.append(f"shards.format={shard_format}")
    settings = load_recipe(recipe, changes)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with BuildProgress() as progress:
        report = run(
            videos,
            settings,
            out,
            workers=workers,
            scheduler=scheduler,
            device=device,
            faces=faces,
            performance_report=performance_report,
            on_result=progress,
        )
    _tell(report, max_failure_rate)


@app.command()
def verify(folder: _Built, threads: Annotated[int, typer.Option(min=1, help="Shards read at once.")] = 2) -> None:
    """Re-read a dataset and check everything: bytes, pictures, masks, geometry, splits, completeness."""
    from manifests.verify import verify as run

    checked = run(folder, threads=threads)
    for problem in checked.problems:
        typer.echo(str(problem))
    what = f"{checked.samples} samples in {checked.shards} shards, {checked.videos} videos"
    typer.echo(f"{what}: {len(checked.problems)} problems")
    if not checked.ok:
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


@app.command()
def inspect(folder: _Built) -> None:
    """Show what a dataset holds, what failed and why, and where the time went."""
    from rich.console import Console
    from rich.table import Table

    from manifests.summary import summarise

    for part in summarise(folder).tables():
        table = Table(*part.columns, title=part.title, title_justify="left")
        for row in part.rows:
            table.add_row(*row)
        Console().print(table)


@app.command()
def report(folder: _Built, out: _Out = Path("contact-sheet.png"), rows: int = 8) -> None:
    """Draw a contact sheet: real crop, fake crop, mask over the fake."""
    from pipeline.report import draw_contact_sheet

    draw_contact_sheet(folder, out, rows=rows)
    typer.echo(f"contact sheet -> {out}")


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Show this recipe in full.")] = None) -> None:
    """List the recipes, or show one with every value resolved."""
    import yaml

    from pipeline.recipe import available_recipes, load_recipe

    if name is not None:
        typer.echo(yaml.safe_dump(load_recipe(name).model_dump(mode="json"), sort_keys=False))
        return
    for known in available_recipes():
        page = load_recipe(known)
        detector = (
            page.detect.detector if page.detect.variant is None else f"{page.detect.detector} {page.detect.variant}"
        )
        sampling = " ".join(str(v) for v in page.sample.model_dump(exclude_none=True).values())
        crop = f"{page.crop.size} px, {page.crop.scale:g} x {page.crop.around}, align {page.crop.align}"
        typer.echo(f"{known:<8} {sampling:<11} {detector:<20} {crop:<38} {page.paper or ''}".rstrip())


@app.command()
def detectors() -> None:
    """List the face detectors and their variants."""
    from detectors.face import available, variants

    for name in available():
        typer.echo(f"{name:<12} {', '.join(variants(name))}".rstrip())


@app.command()
def demo(
    out: _Out = Path("demo-out"), workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None
) -> None:
    """Make a small corpus, scan it, build shards from it, verify them, and draw a contact sheet."""
    from pipeline.demo import run_demo

    run_demo(out, workers=workers)


def _tell(report: "BuildReport", max_failure_rate: float) -> None:
    typer.echo(
        f"{report.samples} samples of {report.videos - report.barren} videos in {report.shards} shards -> {report.out}"
    )
    if report.failures:
        typer.echo(
            f"{report.failures} failures recorded, {report.barren} videos without a sample: "
            f"see failures.parquet, or `facemill inspect {report.out}`."
        )
    if report.failure_rate > max_failure_rate:
        typer.echo(
            f"{report.failure_rate:.1%} of the videos gave no sample: --max-failure-rate is {max_failure_rate:.1%}.",
            err=True,
        )
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


def _end(code: Exit, message: str) -> NoReturn:
    if _debug:
        traceback.print_exc()
    typer.echo(message, err=True)
    sys.exit(code)


def main() -> None:
    """Entry point: every error is one sentence, and every ending has its exit code."""
    try:
        app()
    except SystemExit as ending:
        if ending.code == TYPER_INTERRUPTED:
            _end(Exit.INTERRUPTED, "Interrupted: what is committed is safe, run the same command again to go on.")
        raise
    except FacemillError as error:
        _end(Exit.USAGE, f"Error: {error}")
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
        _end(Exit.INTERNAL_ERROR, f"Internal error ({fault}): run `facemill --debug …` and report what it prints.")
