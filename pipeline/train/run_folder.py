"""A training run's folder: the names of its files, and reading a finished run back.

config.json       what was asked for: detector, options, settings, data
checkpoints/      last.ckpt to go on from, best.ckpt by validation AUC
log.csv           a row per epoch: learning rate, training loss and its terms, validation metrics
logs/             the same as events for TensorBoard
model.safetensors the best weights, for release
metrics.json      of the best epoch; written last, and says by being there that the run is finished
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from facemill import ConfigError, DetectorError, __version__
from facemill.detectors.forgery import ForgeryDetector, create
from facemill.manifests.storage import write_atomically
from facemill.pipeline.config.settings import Settings
from facemill.pipeline.config.train_settings import TrainSettings

__all__ = [
    "BEST_CHECKPOINT",
    "CONFIG_FILE",
    "LAST_CHECKPOINT",
    "LOGS_FOLDER",
    "LOG_FILE",
    "METRICS_FILE",
    "MODEL_FILE",
    "RunConfig",
    "load_run",
    "read_config",
    "write_config",
]

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
MODEL_FILE = "model.safetensors"
LOG_FILE = "log.csv"
LOGS_FOLDER = "logs"
LAST_CHECKPOINT = "checkpoints/last.ckpt"
BEST_CHECKPOINT = "checkpoints/best.ckpt"


class RunConfig(Settings):
    """What decides a run."""

    detector: str
    options: dict[str, Any]
    """The detector's options, complete."""
    train: TrainSettings
    seed: int
    data: tuple[str, ...]
    """Folders of the datasets trained on."""
    dataset_sha256: tuple[str, ...]
    """Of each dataset's dataset.json, which holds the hashes of all of its shards."""
    facemill: str = __version__


def write_config(run: Path, config: RunConfig) -> None:
    """Write a run's config.json, atomically."""
    write_atomically(run / CONFIG_FILE, f"{config.model_dump_json(indent=2)}\n".encode())


def read_config(run: Path) -> RunConfig:
    """Read a run's config.json.

    Raises:
        ConfigError: where there is none, or it is damaged.
    """
    path = run / CONFIG_FILE
    try:
        return RunConfig.model_validate(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{run} holds no training run: give a folder that `facemill train … --out` has written."
        ) from None
    except (OSError, ValueError, ValidationError) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConfigError(f"{path} is damaged ({fault}): train again.") from None


def load_run(run: Path, device: torch.device | str = "cpu") -> tuple[ForgeryDetector, RunConfig]:
    """A finished run's detector with its best weights, in eval mode, on a device.

    Raises:
        ConfigError: where there is no run, or it has not finished.
        DetectorError: for weights that are damaged.
    """
    config = read_config(run)
    path = run / MODEL_FILE
    if not path.is_file():
        raise ConfigError(f"The run in {run} has not finished: go on with it by `facemill train … --resume` first.")
    # All weights come from the run: those the backbone once started from are not asked for again.
    detector = create(config.detector, **{**config.options, "pretrained": False, "weights": None})
    try:
        detector.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DetectorError(f"{path} cannot be loaded ({reason}): train again.") from None
    return detector.to(device).eval(), config
