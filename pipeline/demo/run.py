"""The demo: scan, build, verify, train and evaluate on a synthetic corpus, in minutes and without a download."""

import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from facemill import ConfigError, DatasetError, __version__, manifests
from facemill.manifests.checks.verify import verify
from facemill.manifests.printable import printable
from facemill.manifests.shards.dataset import Counts, read_dataset
from facemill.pipeline.build.job import build
from facemill.pipeline.build.progress import BuildProgress
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.demo.corpus import make_corpus
from facemill.pipeline.figures.report import draw_contact_sheet
from facemill.pipeline.report import report_dataset

__all__ = ["run_demo"]

QUALITY = "c23"
OVERRIDES = ("crop.size=224", "sample.frames=6", "shards.samples_per_shard=128")
SUBJECTS, FRAMES = 32, 20  # many subjects with few frames each: with few, a detector learns their identities
DETECTOR = "etd"
# A small network and few steps: the paper's network needs a GPU, and a download of its ImageNet weights.
TRAINING = (
    "train.model={backbone: resnet18, width: 12, size: 96, n: 2}",
    *("train.batch=16", "train.epochs=8", "train.optimizer.lr=0.001"),
)
CORPUS, MANIFEST, SHARDS, SHEET = "corpus", "videos.parquet", "shards", "contact-sheet.png"
REPORT = "report.html"
RUN, EVALUATION = "run", "evaluation"
MARK = ".facemill-demo"


def run_demo(out: Path, *, workers: int | None = None, training: bool = True, console: Console | None = None) -> None:
    """Make a corpus in FaceForensics++'s layout in `out`, build and verify shards, train on them and evaluate.

    Another call reuses what exists already, as every build does.

    Args:
        training: train and evaluate, which needs the train extra; otherwise stop after the report.

    Raises:
        ConfigError: `out` contains something other than a demo, or scikit-image is not installed.
        DatasetError: the dataset that was built fails verification.
    """
    console = console or Console()
    start = time.monotonic()
    _prepare(out)
    corpus = out / CORPUS
    if not corpus.is_dir():
        with console.status("making videos"):
            make_corpus(corpus, subjects=SUBJECTS, frames=FRAMES)
    _say(console, 1, f"a corpus of real and forged videos in {corpus}")
    scanned = manifests.scan("ffpp", str(corpus), quality=QUALITY)
    manifests.write_videos(scanned.entries, out / MANIFEST)
    _say(console, 2, f"scanned: {len(scanned.entries)} videos of quality {QUALITY} in {out / MANIFEST}")
    recipe = load_recipe("default", OVERRIDES)
    with BuildProgress() as progress:
        report = build(out / MANIFEST, recipe, out / SHARDS, workers=workers, watcher=progress)
    _say(console, 3, f"built: {report.samples} face crops in {report.shards} shards in {out / SHARDS}")
    if report.failure_rate:
        raise DatasetError(
            f"{report.failure_rate:.0%} of the demo's videos gave no crop: `facemill inspect {out / SHARDS}` says why."
        )
    checked = verify(out / SHARDS)
    if checked.problems:
        raise DatasetError(
            f"The demo's dataset has {len(checked.problems)} problems: run `facemill verify {out / SHARDS}`."
        )
    _say(console, 4, "verified: every byte, image, mask, affine and split")
    draw_contact_sheet(out / SHARDS, out / SHEET)
    report_dataset(out / SHARDS, out / REPORT)
    console.print(_table(read_dataset(out / SHARDS).counts))
    if training:
        _train(out, console)
    console.print(f"Done in {time.monotonic() - start:.0f} s. Open these pages, and look at these images:")
    figures = [*sorted(out.rglob(REPORT)), *sorted(out.rglob("*.png"))]
    for path in sorted(figures, key=lambda path: path != out / REPORT):
        if not path.is_relative_to(corpus):
            console.print(Text(f"   {printable(path)}"))


def _train(out: Path, console: Console) -> None:
    # Imported late: these need the train extra, which the steps before do not.
    from facemill.pipeline.data import FaceDataset
    from facemill.pipeline.evaluate.evaluation import evaluate
    from facemill.pipeline.evaluate.report import metrics_table
    from facemill.pipeline.evaluate.seen import titled
    from facemill.pipeline.figures.explain import draw_explanations
    from facemill.pipeline.report.evaluations import report_evaluations
    from facemill.pipeline.runs import load_run
    from facemill.pipeline.train import train

    shards, run = out / SHARDS, out / RUN
    report = train(DETECTOR, [shards], run, load_recipe(DETECTOR, TRAINING), resume=True, device="cpu")
    trained = f"trained {DETECTOR}, a small one, for {report.epochs} epochs in {run}"
    _say(console, 5, f"{trained}: validation AUC {report.metrics['val_auc']:.3f}")
    evaluation = evaluate(run, [shards], out / EVALUATION)
    _say(console, 6, f"evaluated it on videos of other people in {out / EVALUATION}:")
    for title, part in titled(evaluation.metrics):
        console.print(metrics_table(part, title))
    draw_explanations(load_run(run)[0], FaceDataset(shards, "test"), out / EVALUATION, rows=8)
    report_evaluations([run, out / EVALUATION], out / EVALUATION / REPORT)


def _say(console: Console, number: int, line: str) -> None:
    console.print(Text.assemble((str(number), "bold"), f"  {printable(line)}"))


def _prepare(out: Path) -> None:
    """Create the folder; if it holds an earlier demo, keep its results if they are of this version."""
    mark = out / MARK
    if out.is_dir() and any(out.iterdir()) and not mark.is_file():
        raise ConfigError(f"{out} is not empty and holds no demo: choose another --out.")
    if mark.is_file() and mark.read_text() != __version__:
        for name in (CORPUS, SHARDS, RUN, EVALUATION):
            shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(__version__)


def _table(counts: Counts) -> Table:
    table = Table("split", "method", "videos", "face crops", title="What was built")
    for column in table.columns[2:]:
        column.justify = "right"
    for split, methods in counts.items():
        for method, count in methods.items():
            table.add_row(split, method, str(count.videos), str(count.samples))
    return table
