"""Whether each forgery detector learns: frame AUC on unseen subjects, trained from random weights, over three seeds.

The corpus is made like that of `facemill demo`: 80 synthetic subjects, blended fakes, H.264, split by subject. The
detectors are small, so that two cores suffice. A control with permuted labels shows the chance level. One network is
trained on reals and self-blended images alone. Training curves of all runs are drawn in `curves.png`.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure

from benchmarks.row import Row
from facemill import manifests
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.demo.corpus import make_corpus
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.train import train

__all__ = ["measure"]

SEEDS = (0, 1, 2)
EPOCHS = 8
SMALL = {
    "etd": ("etd", "{backbone: resnet18, size: 64, width: 16}"),
    "lrl": ("lrl", "{backbone: tinynet_e, size: 96, k: 3}"),
    "mat": ("mat", "{backbone: tinynet_e, size: 64}"),
    "sia": ("sia", "{backbone: tinynet_e, size: 64}"),
    "sola, full": ("sola", "{size: 64, patch: 8, width: 16, supervision: full}"),
    "resnet18": ("resnet18", "{size: 64}"),
}
SETTINGS = ("train.optimizer.lr=0.001", "train.batch=16", "train.frames=4")
CONTROL = ("train.shuffle_labels=true",)
BLENDED = ("train.forgeries=sbi", "train.epochs=40", "train.schedule.name=cosine", "train.batch=32", "train.frames=8")
"""Blends are harder to learn than the corpus's fakes: 1,100 steps."""
BLENDED_NETWORK = "{backbone: resnet10t, size: 64}"


def measure(scratch: Path) -> list[Row]:
    """One row per detector, one per control, and one of blends: frame AUC, mean and spread over the seeds."""
    folder = scratch / "learning"
    data = _dataset(folder)
    rows, curves = [], {}
    for what, detector, model, extra, target in _trainings():
        runs = [_train(data, folder, detector, model, seed, extra) for seed in (SEEDS if target else SEEDS[:1])]
        aucs = [_auc(run, data) for run in runs]
        curves[what] = [_validated(run) for run in runs]
        spread = f", spread {stdev(aucs):.4f}" if len(aucs) > 1 else ""
        by_epoch = " ".join(f"{mean(epoch):.3f}" for epoch in zip(*curves[what], strict=True))
        details = f"seeds {', '.join(f'{auc:.4f}' for auc in aucs)}{spread}; {model}, validation by epoch {by_epoch}"
        rows.append(Row("learning", f"{what}: frame AUC, unseen persons", mean(aucs), target, details))
    _draw(curves, folder / "curves.png")
    return rows


def _trainings() -> Iterator[tuple[str, str, str, tuple[str, ...], str]]:
    """Yield what is trained: its title, detector, model, further settings, and target."""
    for name, (detector, model) in SMALL.items():
        yield name, detector, model, (), ">= 0.95"
    yield "resnet18, permuted labels", *SMALL["resnet18"], CONTROL, ""
    yield "self-blended images alone", "resnet18", BLENDED_NETWORK, BLENDED, ">= 0.9"


def _dataset(folder: Path) -> Path:
    corpus, manifest = folder / "corpus", folder / "videos.parquet"
    if not corpus.is_dir():
        make_corpus(corpus, subjects=80, frames=32, seed=5, qualities=("c23",))
    manifests.write_videos(manifests.scan("ffpp", str(corpus), quality="c23").entries, manifest)
    recipe = load_recipe("default", ["crop.size=128", "sample.frames=8"])
    return build(manifest, recipe, folder / "shards").out


def _train(data: Path, folder: Path, detector: str, model: str, seed: int, extra: tuple[str, ...]) -> Path:
    kind = {CONTROL: ["control"], BLENDED: ["blended"]}.get(extra, [])
    run = folder / "-".join([detector, str(seed), *kind])
    settings = (*SETTINGS, f"train.model={model}", f"train.epochs={EPOCHS}", f"seed={seed}", *extra)
    train(detector, [data], run, load_recipe("default", settings), resume=True, progress=False)
    return run


def _auc(run: Path, data: Path) -> float:
    metrics = evaluate(run, [data], run.with_name(f"{run.name}-evaluation")).metrics
    return float(metrics["frame"]["overall"]["auc"])


def _validated(run: Path) -> list[float]:
    """Validation AUC after each epoch."""
    with (run / "log.csv").open(newline="") as file:
        return [float(row["val_auc"]) for row in csv.DictReader(file)]


def _draw(curves: dict[str, list[list[float]]], out: Path) -> None:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="AUC of the validation split", ylim=(0.3, 1.02))
    for number, (name, runs) in enumerate(curves.items()):
        style = {"color": f"C{number}", "linestyle": ":" if "permuted" in name else "-"}
        for which, run in enumerate(runs):
            axes.plot(range(1, len(run) + 1), run, label=name if which == 0 else None, **style)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(out, dpi=120)
