"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from facemill import ConfigError, FacemillError, __version__
from pipeline import training_cli

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


class _ScanCommand(TyperCommand):
    """Lists the datasets in its help: the adapters are asked for their names only then."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from manifests.datasets import available, get

        self.epilog = "\n\n".join(["Datasets:", *(f"{name}: {get(name).summary}" for name in available())])
        super().format_help(ctx, formatter)


@app.command(cls=_ScanCommand)
def scan(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset (see below), or csv for a table of your own.")],
    root: Annotated[str, typer.Argument(help="The dataset's folder, or an fsspec URL; for csv, the table.")],
    out: _Out = Path("videos.parquet"),
    quality: Annotated[str | None, typer.Option(help="Compression level: raw, c23 or c40.")] = None,
    split: Annotated[
        str,
        typer.Option(
            help="official, identity (80/10/10), identity:70/20/10, all-train, all-val, all-test, "
            "or a CSV or Parquet file of video_id or path, and split."
        ),
    ] = "official",
    seed: Annotated[int, typer.Option(help="Seed of an identity split.")] = 0,
    real: Annotated[
        str | None, typer.Option(help="For csv on a folder: pattern of the real videos.", metavar="GLOB")
    ] = None,
    fake: Annotated[str | None, typer.Option(help="For csv on a folder: pattern of the fakes.", metavar="GLOB")] = None,
    hashed: Annotated[
        bool, typer.Option("--hash", help="Read every video and keep its size and hash, for merge and check.")
    ] = False,
) -> None:
    """List a dataset's videos, pair fakes with originals, and write the manifest."""
    import manifests

    if (real is None) != (fake is None) or (real is not None and dataset != "csv"):
        raise ConfigError("--real and --fake go together, with the dataset csv and a folder.")
    if real is not None and fake is not None:
        report = manifests.from_globs(root, real, fake, split=split, seed=seed)
    else:
        report = manifests.scan(dataset, root, quality=quality, split=split, seed=seed)
    if hashed:
        with _progress("hashing", len(report.entries)) as advance:
            manifests.add_contents(report, on_videos=advance)
    for line in report.lines():
        typer.echo(line)
    manifests.write_videos(report.entries, out)
    typer.echo(f"{len(report.entries)} videos -> {out}")


@app.command()
def merge(
    videos: Annotated[list[Path], typer.Argument(help="Manifests, as `facemill scan` writes them.")],
    out: Annotated[Path, typer.Option(help="Where to write the manifest of all.")],
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep the first of equal videos, rather than refuse.")
    ] = False,
) -> None:
    """Make one manifest of several; a video that is in two of them is found by size and content."""
    import manifests

    merged = manifests.merge([manifests.read_videos(path) for path in videos], drop_duplicates=drop_duplicates)
    for line in merged.lines():
        typer.echo(line)
    manifests.write_videos(merged.entries, out)
    typer.echo(f"{len(merged.entries)} videos -> {out}")


@app.command()
def check(videos: Annotated[Path, typer.Argument(help="Manifest, as `facemill scan --hash` writes it.")]) -> None:
    """Read the videos of a hashed manifest again, and tell which are gone or have changed."""
    import manifests

    entries = manifests.read_videos(videos)
    with _progress("checking", len(entries)) as advance:
        changes = manifests.find_changed(entries, on_videos=advance)
    for change in changes:
        typer.echo(str(change))
    typer.echo(f"{len(entries)} videos: {len(changes)} gone or changed")
    if changes:
        raise typer.Exit(Exit.TOO_MANY_FAILURES)


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
def export(
    folder: _Built,
    out: Annotated[Path, typer.Option(help="New folder. Run again with the same to go on.")],
    to: Annotated[str, typer.Option(help="Whose training is to read it: deepfakebench.")] = "deepfakebench",
    prefix: Annotated[
        str | None, typer.Option(help="What its paths begin with: --out as that training sees it.", metavar="PATH")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Shards written at once.")] = 4,
) -> None:
    """Write a dataset in the folders and files that another project's training reads."""
    from manifests.dataset import read_dataset
    from manifests.export import export as run

    samples = sum(shard.rows for shard in read_dataset(folder).shards)
    with _progress("exporting", samples) as advance:
        report = run(folder, out, to, prefix=prefix, threads=threads, on_samples=advance)
    typer.echo(f"{report.samples} samples of {report.videos} videos -> {report.out}")
    for note in report.notes:
        typer.echo(note)


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
def detectors(name: Annotated[str | None, typer.Argument(help="Show this forgery detector's options.")] = None) -> None:
    """List the face detectors and the forgery detectors, or show one forgery detector's options."""
    from detectors import face, forgery

    if name is not None:
        for option in forgery.describe_options(name):
            typer.echo(option)
        return
    for known in face.available():
        typer.echo(f"face     {known:<16} {', '.join(face.variants(known))}".rstrip())
    for known in forgery.available():
        options = forgery.options_of(known)
        typer.echo(f"forgery  {known:<16} {options.size} px, {options.backbone}")


app.command()(training_cli.train)
app.command()(training_cli.evaluate)
app.command()(training_cli.explain)
app.add_typer(training_cli.experiments, name="experiments")


@app.command()
def demo(
    out: _Out = Path("demo-out"), workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None
) -> None:
    """Make a small corpus, scan it, build shards from it, verify them, and draw a contact sheet."""
    from pipeline.demo import run_demo

    run_demo(out, workers=workers)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal; yields what to call with the number of them just done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


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
