"""Running a row of a paper's table: train, evaluate, and compare with the paper's results."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.data.split import Roots, list_folders
from facemill.pipeline.experiments.tables import Experiment, find_experiment

__all__ = ["run_experiment"]

_UNITS = {"frame": "frames", "video": "videos"}
_UNDEFINED = "undefined"


def run_experiment(
    name: str,
    data: Roots,
    out: str | Path,
    *,
    test: Roots,
    overrides: Iterable[str] = (),
    device: str = "auto",
    workers: int | None = 0,
) -> Iterator[str]:
    """Train and evaluate one row, resuming an earlier call's run in `out`; yields lines to print.

    Args:
        name: of the experiment.
        data: folders of the datasets to train on.
        out: folder in which `run/` and `evaluation/` are written.
        test: folders of the datasets whose test split is evaluated.
        overrides: recipe values, as `section.key=value`, applied after the row's.

    Raises:
        ConfigError: if the name or a setting is unknown, or `out` holds another run.
        DatasetError: if a dataset is unfinished or damaged.
    """
    from facemill.pipeline.evaluate import evaluate
    from facemill.pipeline.train import train

    data, test, out = list_folders(data), list_folders(test), Path(out)
    experiment = find_experiment(name)
    changed = list(overrides)
    yield f"{experiment.name}: {experiment.caption} ({experiment.paper})"
    yield from _differences(experiment, data)
    if changed:
        yield f"not the paper's setting: {' '.join(changed)}"
    recipe = load_recipe(experiment.recipe, [*experiment.settings(), *changed])
    train(experiment.detector, data, out / "run", recipe, resume=True, device=device, workers=workers)
    evaluation = evaluate(
        out / "run", test, out / "evaluation", robustness=experiment.robustness, device=device, workers=workers
    )
    for warning in evaluation.warnings:
        yield f"Note: {warning}"
    yield f"paper  trained on {experiment.trained_on}, tested on {experiment.tested_on}"
    yield from (f"paper  {metric}: {figure:g}" for metric, figure in experiment.figures.items())
    yield f"ours   trained on {_names(data)}, tested on {_names(test)}"
    yield from (f"ours   {line}" for line in _measured(evaluation.metrics))


def _differences(experiment: Experiment, data: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence for each build setting of the row that a dataset was not built with."""
    for folder in data:
        built: Mapping[str, Any] = read_dataset(folder).recipe
        for setting in experiment.build_settings():
            key, _, text = setting.partition("=")
            section, _, option = key.partition(".")
            found, wanted = built.get(section, {}).get(option), yaml.safe_load(text)
            if found != wanted:
                yield f"not the paper's setting: {folder} was built with {key}={json.dumps(found)}, the row has {text}"


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)


def _measured(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield every metric that some paper reports, one line each; pooled metrics if there are several datasets."""
    for key, unit in _UNITS.items():
        summary, robustness = report[key], report["robustness"]
        several = len(summary["datasets"]) > 1
        if several:
            yield f"{unit}, all: {_figures(summary['overall'])}"
        for row in summary["datasets"]:
            methods = [method for method in summary["methods"] if _dataset(method) == _dataset(row)]
            yield f"{unit}, {_dataset(row)}: {_figures(row)}"
            yield from (f"{unit}, {_dataset(row)} {method['method']}: {_figures(method)}" for method in methods)
            if len(methods) > 1:
                yield f"{unit}, {_dataset(row)} mean of {len(methods)} methods: {_mean_auc(methods)}"
        for name, rows in (("all", robustness["overall"] if several else []), ("", robustness["datasets"])):
            for row in rows:
                condition = f"{name or _dataset(row)} {row['corruption']} severity {row['severity']}"
                yield f"{unit}, {condition}: AUC {_percent(row[f'{key}_auc'])}"


def _dataset(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']} {row['quality']}"


def _figures(metrics: Mapping[str, float | None]) -> str:
    loss = metrics["log_loss"]
    shares = [f"{name.upper()} {_percent(metrics[name])}" for name in ("acc", "auc", "eer", "ap")]
    return ", ".join([*shares, f"log loss {_UNDEFINED if loss is None else f'{loss:.4f}'}"])


def _mean_auc(methods: Sequence[Mapping[str, Any]]) -> str:
    aucs = [method["auc"] for method in methods]
    return f"AUC {_percent(None if None in aucs else fmean(aucs))}"


def _percent(share: float | None) -> str:
    return _UNDEFINED if share is None else f"{share:.2%}"
