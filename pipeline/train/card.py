"""A run's model card (README.md), for readers and for the Hugging Face hub."""

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import timm
import yaml

from facemill import __version__
from facemill.manifests.printable import printable
from facemill.manifests.shards.dataset import BUILD_FILE, STATE_FOLDER
from facemill.manifests.storage import read_json, write_atomically
from facemill.pipeline.evaluate.calibration import choose_thresholds, fit_temperature
from facemill.pipeline.evaluate.intervals import judge
from facemill.pipeline.evaluate.metrics import score_videos
from facemill.pipeline.runs.folder import CARD_FILE, CONDITIONS_FILE, TRAINED_ON_FILE, RunConfig

__all__ = ["write_card", "write_imported_card"]

_FIGURES = ("acc", "auc", "eer")
_OF_MARKDOWN = {ord("`"): "\\x60", ord("|"): "\\x7c"}

_TEXT = """\
---
{head}---

# {name}

A detector of forged faces: `{detector}`, trained by facemill {facemill} with the seed {seed}.

{usage}

Crops must be framed as those of the training data were: {crop}.

## Data

{datasets}

{samples}

## Training

{versions}

```json
{recipe}
```

## Figures

Validation, in epoch {epoch} of {epochs}, whose weights these are; loss {loss:.4f}. The epoch was chosen by this AUC, so
that new data of the same kind may give less.

{figures}

Test figures are those of `facemill evaluate`, which writes them with intervals into a folder of its own (metrics.json).

## License

{weights} The videos are their authors': their terms may restrict what may be done with a network that was trained on
them. facemill grants nothing.

{limits}
- Intervals are of 95 %, by resampling of clip groups, an original with its fakes; another seed changes them too.
"""

_IMPORTED = """\
---
{head}---

# {name}

A detector of forged faces: `{detector}`, with weights of its authors' checkpoint {file} (SHA-256 {sha256}), read by
facemill {facemill}.

{usage}

Crops are framed by facemill's recipe for this detector, {crop}, which may not be how its authors framed theirs.

## Data, training and figures

Not known: the checkpoint does not say what it was trained on, so that data of which it has seen the videos cannot be
told from others. `facemill evaluate` measures it.

## License

Its authors' terms apply to the weights, and the terms of the videos that they used. facemill grants nothing.

{limits}
"""

_USAGE = """\
```python
import facemill

detector = facemill.load_model("path/to/this/folder")  # needs model.safetensors and model.json only
output = detector(detector.preprocess(crops))  # RGB [N, 3, H, W], uint8 or float in 0..1
output.score  # probability of fake, [N]; output.logit is its log-odds
```"""

_LIMITS = """\
## Limits

- What the network has not been trained on, such as other methods, compression or cameras, it detects less well, and
  maybe not at all; figures on other data do not say how much less.
- A score is a probability only for data with the training data's share of fakes. It says nothing about who made a
  video, or why."""


def write_card(
    run: Path, config: RunConfig, folders: Sequence[Path], best: dict[str, float], scores: pa.Table | None
) -> None:
    """Write a run's README.md, atomically.

    Args:
        folders: of the datasets trained on, where they are now.
        best: the best epoch's row of log.csv.
        scores: of the validation samples in that epoch, rows of scores.parquet; None if not known.
    """
    conditions = read_json(run / CONDITIONS_FILE)["parts"]
    packages = {name: version(name) for name in ("torch", "timm", "lightning")}
    settings = config.train.model_dump(mode="json", exclude={"model"})
    recipe = {"detector": config.detector, "options": config.options, "train": settings}
    own = [f"{code.name} (SHA-256 {code.sha256})" for code in config.code]
    text = _TEXT.format(
        **_common(run, config),
        seed=config.seed,
        datasets=_table(("dataset", "SHA-256 of dataset.json", "SHA-256 of its manifest"), _datasets(config, folders)),
        samples=_table(("dataset", "split", "samples", "videos"), _samples(run / TRAINED_ON_FILE)),
        versions="; ".join(
            [f"Python {platform.python_version()}", *(f"{name} {number}" for name, number in packages.items())]
            + [f"conditions: {_code(json.dumps(part))}" for part in conditions]
            + [f"own code: {_code(one)}" for one in own]
        ),
        recipe=json.dumps(recipe, indent=2),
        epoch=int(best["epoch"]) + 1,
        epochs=config.train.epochs,
        loss=best["val_loss"],
        figures=_figures(best, scores),
        weights=_weights(config),
    )
    write_atomically(run / CARD_FILE, text.encode())


def write_imported_card(run: Path, config: RunConfig) -> None:
    """Write the README.md of a run with weights of a released checkpoint, atomically."""
    file = _code(Path(config.init_from or "").name)
    write_atomically(
        run / CARD_FILE, _IMPORTED.format(**_common(run, config), file=file, sha256=config.init_sha256).encode()
    )


def _common(run: Path, config: RunConfig) -> dict[str, str]:
    return {
        "head": yaml.safe_dump(_head(config), sort_keys=False),
        "name": printable(run.absolute().name),
        "detector": printable(config.detector),
        "facemill": __version__,
        "usage": _USAGE,
        "crop": _code(json.dumps(config.crop)),
        "limits": _LIMITS,
    }


def _head(config: RunConfig) -> dict[str, Any]:
    """Front matter, by the names of Hugging Face's model cards."""
    base = getattr(_timm_weights(config), "hf_hub_id", None)
    return {
        "library_name": "facemill",
        "license": "other",
        "license_name": "terms-of-the-weights-and-of-the-videos",
        "license_link": "#license",
        "pipeline_tag": "image-classification",
        **({"base_model": base} if base else {}),
        "tags": ["deepfake-detection", "face-forgery-detection", config.detector],
    }


def _timm_weights(config: RunConfig) -> Any:
    """What timm knows of the weights that the training started from; None if it started from others, or none."""
    options = config.options
    if config.init_from is not None or options.get("weights") or not options.get("pretrained"):
        return None
    try:
        return timm.get_pretrained_cfg(str(options.get("backbone")))
    except RuntimeError:  # the name of an own detector's network
        return None


def _datasets(config: RunConfig, folders: Sequence[Path]) -> Iterator[tuple[object, ...]]:
    for folder, digest in zip(folders, config.dataset_sha256, strict=True):
        try:
            manifest = _code(read_json(folder / STATE_FOLDER / BUILD_FILE)["manifest"])
        except (OSError, ValueError, LookupError):
            manifest = "not recorded"
        yield _code(folder.absolute().name), _code(digest), manifest


def _samples(path: Path) -> Iterator[tuple[object, ...]]:
    columns = ["dataset", "split"]
    counts = pq.read_table(path).group_by(columns).aggregate([("sample_id", "count"), ("video_id", "count_distinct")])
    for row in counts.sort_by([(name, "ascending") for name in columns]).to_pylist():
        yield _code(row["dataset"]), _code(row["split"]), row["sample_id_count"], row["video_id_count_distinct"]


def _figures(best: dict[str, float], scores: pa.Table | None) -> str:
    if scores is None:
        return f"AUC of frames: {best['val_auc']:.4f}; accuracy: {best['val_acc']:.4f}; intervals are not known."
    lines = []
    for unit, rows in (("frames", scores), ("videos", score_videos(scores))):
        found = judge([rows], metrics=_FIGURES)
        cells = [_figure(found[metric], found["intervals"][metric]) for metric in _FIGURES]
        lines.append((unit, found["reals"], found["fakes"], *cells))
    table = _table(("", "reals", "fakes", "ACC", "AUC", "EER"), lines)
    chosen = choose_thresholds(scores)
    limits = [f"{unit}s {limit:.4f}" for unit, limit in asdict(chosen).items() if limit is not None]
    temperature = fit_temperature(scores["logit"], scores["label"])
    known = "none fits them" if temperature is None else f"{temperature:.4f}, which scores are not divided by"
    return (
        f"{table}\n\nLog-odds with the highest balanced accuracy: {', '.join(limits) or 'not known'}. "
        f"Temperature of the log-odds: {known}."
    )


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4f} ({'interval not known' if interval is None else '{:.4f} to {:.4f}'.format(*interval)})"


def _weights(config: RunConfig) -> str:
    """A sentence on the weights that the training started from, and on their licence."""
    options = config.options
    if config.init_from is not None:
        name = _code(Path(config.init_from).name)
        return f"Training started from the run {name} (SHA-256 {config.init_sha256}), whose terms apply."
    if options.get("weights"):
        return f"The backbone started from your own file {_code(Path(options['weights']).name)}, whose terms apply."
    if options.get("pretrained"):
        licence = getattr(_timm_weights(config), "license", None) or "not stated by timm"
        return f"The backbone started from timm's {_code(options.get('backbone'))}, whose licence is: {_code(licence)}."
    return "Training started from no weights of others, as far as the options say."


def _table(head: Sequence[str], rows: Iterator[tuple[object, ...]] | list[tuple[object, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _code(text: object) -> str:
    """Text of files and users as code, which it cannot end, nor the cell of a table."""
    return f"`{printable(text).translate(_OF_MARKDOWN)}`"
