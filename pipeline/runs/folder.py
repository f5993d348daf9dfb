"""A training run's folder: names of its files, and reading of a finished run.

config.json         configuration: detector, options, settings, data and its recipe
conditions.json     what it ran on: device, precision, ranks, versions; a part for each resume that changed them
trained_on.parquet  ids and image hashes of the samples of train and val; methods, subjects, originals and content
                    hashes of their videos
checkpoints/        last.ckpt for resuming, best.ckpt by validation AUC
log.csv             a row per epoch: learning rate, training loss and its terms, validation metrics
logs/               the same as TensorBoard events
model.safetensors   the best weights, for release
model.json          which network they are of, and its input: what `facemill.load_model` needs besides
README.md           model card
validation.parquet  scores of the validation split in the best epoch: thresholds and temperature are chosen on them
metrics.json        of the best epoch; written last: marks the run as finished
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import ValidationError

from facemill import ConfigError, __version__
from facemill.detectors.forgery import ForgeryDetector, load_model
from facemill.detectors.forgery.saved import INFO_FILE, MODEL_FILE, SavedModel, complete
from facemill.manifests.storage import atomic_path, read_json, write_atomically
from facemill.own_code import OwnCode
from facemill.pipeline.config.sections import Settings
from facemill.pipeline.config.train_settings import TrainSettings

__all__ = [
    "BEST_CHECKPOINT",
    "CARD_FILE",
    "CONDITIONS_FILE",
    "CONFIG_FILE",
    "LAST_CHECKPOINT",
    "LOGS_FOLDER",
    "LOG_FILE",
    "METRICS_FILE",
    "MODEL_FILE",
    "TRAINED_ON_FILE",
    "VALIDATION_FILE",
    "RunConfig",
    "load_run",
    "read_config",
    "read_trained_on",
    "saved_model",
    "seed_folder",
    "seed_runs",
    "write_config",
    "write_model",
    "write_trained_on",
]

CARD_FILE = "README.md"
CONFIG_FILE = "config.json"
CONDITIONS_FILE = "conditions.json"
METRICS_FILE = "metrics.json"
TRAINED_ON_FILE = "trained_on.parquet"
VALIDATION_FILE = "validation.parquet"
LOG_FILE = "log.csv"
LOGS_FOLDER = "logs"
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
    """Crop settings of the first dataset: see `facemill.pipeline.runs.framing.crop_settings`."""
    recipe: dict[str, Any] | None = None
    """Recipe that the first dataset was built with, without `train`; None in runs of earlier versions."""
    code: tuple[OwnCode, ...] = ()
    """Users' own classes that the run is made of."""
    facemill: str = __version__


def write_config(run: Path, config: RunConfig) -> None:
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
    return config.model_copy(update={"options": complete(config.detector, config.options)})


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


def seed_folder(out: Path, seed: int) -> Path:
    return out / f"seed-{seed}"


def seed_runs(folder: Path) -> list[Path]:
    """The runs in a folder of several that differ by their seed, by seed; empty if it is no such folder.

    Raises:
        ConfigError: if they differ by more than their seed.
    """
    if (folder / CONFIG_FILE).exists():
        return []
    found = [path.parent for path in folder.glob(f"seed-*/{CONFIG_FILE}")]
    runs = sorted((run for run in found if run.name[5:].isdecimal()), key=lambda run: int(run.name[5:]))
    if len({read_config(run).model_dump_json(exclude={"seed", "facemill"}) for run in runs}) > 1:
        raise ConfigError(f"The runs in {folder} differ by more than their seed: evaluate them one at a time.")
    return runs


def load_run(run: str | Path, device: torch.device | str = "cpu") -> tuple[ForgeryDetector, RunConfig]:
    """Load a finished run's detector with its best weights, in eval mode, onto a device: `load_model` with the config.

    Raises:
        ConfigError: if there is no run, or it has not finished.
        DetectorError: if the weights are damaged.
    """
    config = read_config(Path(run))
    return load_model(run, device), config


def write_model(run: Path, config: RunConfig, detector: ForgeryDetector) -> None:
    saved = saved_model(config, detector)
    write_atomically(run / INFO_FILE, f"{saved.model_dump_json(indent=2)}\n".encode())


def saved_model(config: RunConfig, detector: ForgeryDetector) -> SavedModel:
    """The part of a run's configuration that loading its network takes."""
    return SavedModel(
        facemill=__version__,
        detector=config.detector,
        options=config.options,
        input=detector.input_spec,
        crop=config.crop,
        code=next((code for code in config.code if code.name == config.detector), None),
    )
