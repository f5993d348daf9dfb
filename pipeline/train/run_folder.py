"""A training run's folder: names of its files, and reading of a finished run.

config.json         configuration: detector, options, settings, data
conditions.json     what it ran on: device, precision, ranks, versions; a part for each resume that changed them
trained_on.parquet  ids and image hashes of the samples of train and val; methods, subjects, originals and content
                    hashes of their videos
checkpoints/        last.ckpt for resuming, best.ckpt by validation AUC
log.csv             a row per epoch: learning rate, training loss and its terms, validation metrics
logs/               the same as TensorBoard events
model.safetensors   the best weights, for release
metrics.json        of the best epoch; written last: marks the run as finished
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model

from facemill import ConfigError, DetectorError, __version__
from facemill.detectors.forgery import ForgeryDetector, create
from facemill.detectors.forgery.base import IMAGENET_MEAN, IMAGENET_STD
from facemill.manifests.storage import atomic_path, read_json, write_atomically
from facemill.own_code import OwnCode, admit
from facemill.pipeline.config.settings import Settings
from facemill.pipeline.config.train_settings import TrainSettings

__all__ = [
    "BEST_CHECKPOINT",
    "CONDITIONS_FILE",
    "CONFIG_FILE",
    "LAST_CHECKPOINT",
    "LOGS_FOLDER",
    "LOG_FILE",
    "METRICS_FILE",
    "MODEL_FILE",
    "TRAINED_ON_FILE",
    "RunConfig",
    "load_detector",
    "load_run",
    "read_config",
    "read_trained_on",
    "write_config",
    "write_trained_on",
]

CONFIG_FILE = "config.json"
CONDITIONS_FILE = "conditions.json"
METRICS_FILE = "metrics.json"
MODEL_FILE = "model.safetensors"
TRAINED_ON_FILE = "trained_on.parquet"
LOG_FILE = "log.csv"
LOGS_FOLDER = "logs"
_IMAGENET = {"mean": [*IMAGENET_MEAN], "std": [*IMAGENET_STD]}
_UNRECORDED = {
    **dict.fromkeys(("etd", "lrl", "mat"), _IMAGENET),
    "sia": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}
"""Mean and std of runs that do not record them: those of the detector before they were options."""
_IDENTIFIERS = ("dataset", "video_id", "image_sha256", "content_hash")
_ADDED = pa.schema([("method", pa.string()), ("source_id", pa.string()), ("subject_ids", pa.list_(pa.string()))])
"""Columns of trained_on.parquet, and those that runs of earlier versions lack."""
LAST_CHECKPOINT = "checkpoints/last.ckpt"
BEST_CHECKPOINT = "checkpoints/best.ckpt"


class RunConfig(Settings):
    """Configuration that determines a run."""

    detector: str
    options: dict[str, Any]
    """All of the detector's options, including defaults."""
    train: TrainSettings
    seed: int
    data: tuple[str, ...]
    """Folders of the datasets trained on."""
    dataset_sha256: tuple[str, ...]
    """Hash of each dataset's dataset.json, which holds the hashes of all its shards."""
    init_from: str | None = None
    """Folder of the run whose weights this one started from, or the released checkpoint that it was imported from."""
    init_sha256: str | None = None
    """Hash of those weights."""
    crop: dict[str, Any] | None = None
    """Crop settings of the first dataset: see `facemill.pipeline.train.framing.crop_settings`."""
    code: tuple[OwnCode, ...] = ()
    """Users' own classes that the run is made of."""
    facemill: str = __version__


def write_config(run: Path, config: RunConfig) -> None:
    """Write a run's config.json, atomically."""
    write_atomically(run / CONFIG_FILE, f"{config.model_dump_json(indent=2)}\n".encode())


def read_config(run: Path) -> RunConfig:
    """Read a run's config.json.

    Raises:
        ConfigError: if there is none, or it is damaged.
    """
    path = run / CONFIG_FILE
    try:
        config = RunConfig.model_validate(read_json(path))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{run} holds no training run: give a folder that `facemill train … --out` has written."
        ) from None
    except (OSError, ValueError, ValidationError) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConfigError(f"{path} is damaged ({fault}): train again.") from None
    return config.model_copy(update={"options": {**_UNRECORDED.get(config.detector, {}), **config.options}})


def write_trained_on(run: Path, contents: pa.Table) -> None:
    """Write the identifiers of a run's samples: rows of `facemill.pipeline.data.overlap.Part.contents`."""
    with atomic_path(run / TRAINED_ON_FILE) as temporary:
        pq.write_table(contents, temporary, compression="zstd")


def read_trained_on(run: Path) -> pa.Table | None:
    """Read what `write_trained_on` wrote; None if the run has no such file.

    Method, original and subjects are null in the file of an earlier version.

    Raises:
        ConfigError: if it is damaged.
    """
    path = run / TRAINED_ON_FILE
    try:
        table = pq.read_table(path)
        for name in _ADDED.names:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table), _ADDED.field(name).type))
        schema = pa.schema([*((name, pa.string()) for name in _IDENTIFIERS), *_ADDED])
        return table.select(schema.names).cast(schema)
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise ConfigError(f"{path} is damaged ({error}): delete it, or train again.") from None


def load_run(run: str | Path, device: torch.device | str = "cpu") -> tuple[ForgeryDetector, RunConfig]:
    """Load a finished run's detector with its best weights, in eval mode, onto a device.

    Raises:
        ConfigError: if there is no run, or it has not finished.
        DetectorError: if the weights are damaged.
    """
    run = Path(run)
    config = read_config(run)
    path = run / MODEL_FILE
    if not path.is_file():
        raise ConfigError(f"The run in {run} has not finished: continue it with `facemill train … --resume` first.")
    return load_detector(config, path).to(device).eval(), config


def load_detector(config: RunConfig, weights: Path) -> ForgeryDetector:
    """Create a run's detector with released weights, on the CPU.

    Raises:
        DetectorError: if the weights are damaged or of another detector.
    """
    admit(code for code in config.code if code.name == config.detector)
    # All weights come from the run, so pretrained weights of the backbone are not needed.
    own = {name: value for name, value in {"pretrained": False, "weights": None}.items() if name in config.options}
    detector = create(config.detector, **{**config.options, **own})
    try:
        load_model(detector, weights)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DetectorError(f"{weights} cannot be loaded ({reason}): train again.") from None
    return detector
