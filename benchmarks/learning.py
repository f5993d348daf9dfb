"""Whether each forgery detector learns: frame AUC on unseen subjects, trained from random weights.

The corpus is made like that of `facemill demo`: 80 synthetic subjects, blended fakes, H.264, split by subject. The
detectors are small, so that two cores suffice. A control with permuted labels shows the chance level. One network is
trained on reals and self-blended images alone.
"""

from pathlib import Path
from statistics import mean

from benchmarks.row import Row
from facemill import manifests
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.demo.corpus import make_corpus
from facemill.pipeline.evaluate import evaluate
from facemill.pipeline.train import train

__all__ = ["measure"]

SEEDS = (0, 1)
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
    """One row per detector and one per control: mean frame AUC over the seeds."""
    data = _dataset(scratch / "learning")
    rows = []
    for name, (detector, model) in SMALL.items():
        for what, extra, target in ((name, (), ">= 0.95"), (f"{name}, permuted labels", CONTROL, "")):
            aucs = [_auc(data, scratch / "learning", detector, model, seed, extra) for seed in SEEDS]
            details = f"seeds {', '.join(f'{auc:.4f}' for auc in aucs)}; {model}, {EPOCHS} epochs"
            rows.append(Row("learning", f"{what}: frame AUC, unseen persons", mean(aucs), target, details))
    aucs = [_auc(data, scratch / "learning", "resnet18", BLENDED_NETWORK, seed, BLENDED) for seed in (0, 1, 2)]
    details = f"seeds {', '.join(f'{auc:.4f}' for auc in aucs)}; {BLENDED_NETWORK}, no fake of the corpus in training"
    rows.append(Row("learning", "self-blended images: frame AUC, unseen persons", mean(aucs), ">= 0.9", details))
    return rows


def _dataset(folder: Path) -> Path:
    corpus, manifest = folder / "corpus", folder / "videos.parquet"
    if not corpus.is_dir():
        make_corpus(corpus, subjects=80, frames=32, seed=5, qualities=("c23",))
    manifests.write_videos(manifests.scan("ffpp", str(corpus), quality="c23").entries, manifest)
    recipe = load_recipe("default", ["crop.size=128", "sample.frames=8"])
    return build(manifest, recipe, folder / "shards").out


def _auc(data: Path, folder: Path, detector: str, model: str, seed: int, extra: tuple[str, ...]) -> float:
    kind = {CONTROL: ["control"], BLENDED: ["blended"]}.get(extra, [])
    run = folder / "-".join([detector, str(seed), *kind])
    settings = (*SETTINGS, f"train.model={model}", f"train.epochs={EPOCHS}", f"seed={seed}", *extra)
    train(detector, [data], run, load_recipe("default", settings), resume=True, progress=False)
    metrics = evaluate(run, [data], run.with_name(f"{run.name}-evaluation")).metrics
    return float(metrics["frame"]["overall"]["auc"])
