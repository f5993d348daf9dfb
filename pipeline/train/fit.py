"""`facemill train`: train a detector on datasets into a run folder; a run killed at any time can be resumed."""

import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from facemill import ConfigError, DatasetError, FacemillError
from facemill.detectors.device import resolve_device
from facemill.detectors.forgery import create, options_of
from facemill.manifests.shards.dataset import DATASET_FILE, read_dataset
from facemill.manifests.storage import read_json, sha256_of
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.data import FaceDataModule, FaceDataset
from facemill.pipeline.data.overlap import check_subjects, read_part, refuse_shared
from facemill.pipeline.data.split import Roots, list_folders
from facemill.pipeline.train.checkpoints import AtomicCheckpoints, RunCheckpoints
from facemill.pipeline.train.device import count_processes, default_workers
from facemill.pipeline.train.epoch_log import EpochLog
from facemill.pipeline.train.framing import crop_settings, differences_from_paper
from facemill.pipeline.train.module import ForgeryModule
from facemill.pipeline.train.release import release, try_release
from facemill.pipeline.train.run_folder import (
    BEST_CHECKPOINT,
    CONFIG_FILE,
    LAST_CHECKPOINT,
    LOG_FILE,
    LOGS_FOLDER,
    METRICS_FILE,
    RunConfig,
    read_config,
    write_config,
    write_trained_on,
)

__all__ = ["TrainResult", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """Result of a training run.

    Attributes:
        epochs: number of epochs trained, including earlier parts of a resumed run.
        best_epoch: the epoch, counted from 0, whose weights were kept.
        metrics: of that epoch: val_auc, val_acc, val_loss, and the training loss's terms.
        is_global_zero: whether this process has global rank 0.
    """

    run: Path
    epochs: int
    best_epoch: int
    metrics: dict[str, float]
    is_global_zero: bool


def train(
    detector: str,
    data: Roots,
    out: str | Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    device: str = "auto",
    devices: int | None = None,
    workers: int | None = 0,
    compiled: bool = False,
    progress: bool = True,
) -> TrainResult:
    """Train a forgery detector on the train splits of datasets, and keep the weights with the best validation AUC.

    Examples:
        >>> small = ["train.epochs=1", "train.batch=8", "train.model.backbone=resnet18", "train.model.size=96"]
        >>> recipe = facemill.load_recipe("default", small)
        >>> result = facemill.train("mat", "shards", "run", recipe, device="cpu", progress=False)
        >>> result.epochs
        1

    Among epochs with equal AUC the one with the lowest validation loss is kept.

    Args:
        detector: one of `registry.FORGERY_DETECTORS`.
        data: folder of a built dataset, or several to train on together.
        out: the run's folder.
        recipe: only its `train` section and seed are used.
        resume: continue the run in `out`, or start it if there is none.
        device: `auto`, `cpu` or `cuda`.
        devices: GPUs per node (DDP), or processes on a CPU; None for all GPUs, one process on a CPU, or as many
            as torchrun or srun has started.
        workers: data-loading workers per device; 0 to load in the training process, None to choose by the
            number of cores.
        compiled: run the detector through `torch.compile`.
        progress: show a progress bar.

    Raises:
        ConfigError: if a name or option is unknown, datasets or splits share samples, `out` holds another run,
            or a loss or a validation output is not finite.
        DatasetError: if a dataset is unfinished or damaged, or lacks a split or a class in it.
        DetectorError: if the detector's weights cannot be saved, or give different scores after loading.
    """
    data, out = list_folders(data), Path(out)
    config = _configure(detector, data, recipe)
    trained_on = _check_data(data, config)
    chosen = resolve_device(device)
    if chosen.index is not None:
        raise ConfigError(
            f"Training cannot select a GPU by its index: use --device cuda with CUDA_VISIBLE_DEVICES={chosen.index}."
        )
    on_gpu = chosen.type == "cuda"
    if resume and (out / METRICS_FILE).is_file():
        _claim(out, config, resume=True)
        return _read_result(out)
    # All checks come before the folder is claimed.
    torch.manual_seed(config.seed)  # for weight initialisation
    nodes, count = count_processes(devices, on_gpu=on_gpu)
    model = ForgeryModule(
        create(detector, **config.options),
        config.train,
        seed=config.seed,
        compiled=compiled,
        synchronised=on_gpu and nodes * count > 1,
    )
    if rank_zero_only.rank == 0:
        try_release(model.detector, config)
    if on_gpu:
        model = model.to(memory_format=torch.channels_last)
    # Only rank 0 claims the folder, even if others get here first; they wait for it in `fit`.
    if rank_zero_only.rank == 0:
        _claim(out, config, resume=resume)
        write_trained_on(out, trained_on)
    with _silence_lightning():
        trainer = _trainer(out, config, on_gpu=on_gpu, nodes=nodes, devices=count, progress=progress)
        faces = FaceDataModule(
            data,
            settings=config.train.model_copy(update={"batch": _per_device(config.train.batch, trainer.world_size)}),
            workers=default_workers(count) if workers is None else workers,
            seed=config.seed,
            fields=model.detector.fields,
        )
        last = out / LAST_CHECKPOINT
        try:
            trainer.fit(model, faces, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
        except SystemExit:  # Lightning turns Ctrl-C into this, and ignores further ones
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
    failure = None
    if trainer.is_global_zero:
        try:
            release(out, model, config, next(iter(faces.val_dataloader())), chosen)
        except FacemillError as error:
            failure = error
    failure = trainer.strategy.broadcast(failure)  # the other ranks wait here, and fail as well
    if failure is not None:
        raise failure
    return _read_result(out)


def _configure(detector: str, data: Sequence[Path], recipe: Recipe) -> RunConfig:
    options = options_of(detector, recipe.train.model)
    for folder in data:
        read_dataset(folder)
    return RunConfig(
        detector=detector,
        options=options.model_dump(mode="json"),
        train=recipe.train,
        seed=recipe.seed,
        data=tuple(str(folder.absolute()) for folder in data),
        dataset_sha256=tuple(sha256_of(folder / DATASET_FILE) for folder in data),
        crop=crop_settings(data[0]),
    )


def _check_data(data: Sequence[Path], config: RunConfig) -> pa.Table:
    """Refuse data that would make training or validation invalid; returns what identifies the samples used."""
    s = config.train
    opened = {
        "train": FaceDataset(data, "train", frames=s.frames, every=s.every, seed=config.seed, fields=()),
        "val": FaceDataset(data, "val", fields=()),
    }
    for split, faces in opened.items():
        reals, fakes = np.bincount(faces.labels, minlength=2).tolist()
        if not reals or not fakes:
            raise DatasetError(
                f"Split {split} of {', '.join(map(str, data))} has {reals} reals and {fakes} fakes, and training needs "
                "both, as does the AUC that selects the best weights: add the other class."
            )
    parts = [read_part(folder, split) for folder in data for split in opened]
    refuse_shared(parts)
    for warning in filter(None, (check_subjects(parts), *differences_from_paper(config.detector, data))):
        if rank_zero_only.rank == 0:
            logger.info("Note: %s", warning)
            print(f"Note: {warning}", file=sys.stderr)
    used = pa.concat_tables([part.contents for part in parts])
    samples = pa.concat_tables([faces.samples.select(["sample_id"]) for faces in opened.values()])["sample_id"]
    return used.filter(pc.is_in(used["sample_id"], value_set=samples.combine_chunks()))


def _claim(out: Path, config: RunConfig, *, resume: bool) -> None:
    """Create the run's configuration in the folder, or check that the run in it is the same."""
    if not (out / CONFIG_FILE).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise ConfigError(f"{out} is not empty and holds no training run: choose another --out.")
        write_config(out, config)
        return
    if not resume:
        raise ConfigError(f"{out} holds a training run: add --resume to go on with it, or choose another --out.")
    earlier = read_config(out)
    # A dataset may have been moved: its hash is compared, not its path.
    same = {"data": earlier.data, "crop": earlier.crop}
    if config.model_copy(update=same) != earlier:
        changed = [
            key for key in RunConfig.model_fields if key not in same and getattr(config, key) != getattr(earlier, key)
        ]
        raise ConfigError(
            f"The run in {out} was started with different settings ({', '.join(changed)}): "
            f"use those of {out / CONFIG_FILE} to resume it, or choose another --out."
        )


def _per_device(batch: int, devices: int) -> int:
    if batch % devices:
        raise ConfigError(f"train.batch={batch} is not divisible by {devices} devices: choose a multiple of {devices}.")
    if batch == devices:
        raise ConfigError("Batch normalisation needs more than one crop per device: choose a larger train.batch.")
    return batch // devices


def _trainer(out: Path, config: RunConfig, *, on_gpu: bool, nodes: int, devices: int, progress: bool) -> Trainer:
    bf16 = config.train.precision == "bf16" or (config.train.precision == "auto" and on_gpu)
    bar = progress and Console().is_terminal
    log = EpochLog(out / LOG_FILE, printed=progress and not bar)
    callbacks = [log, RunCheckpoints(log, last=out / LAST_CHECKPOINT, best=out / BEST_CHECKPOINT)]
    if bar:
        callbacks.append(EpochBar())
    return Trainer(
        accelerator="cuda" if on_gpu else "cpu",
        num_nodes=nodes,
        devices=devices,
        strategy="ddp" if nodes * devices > 1 else "auto",
        precision="bf16-mixed" if bf16 else "32-true",
        max_epochs=config.train.epochs,
        accumulate_grad_batches=config.train.accumulate,
        callbacks=callbacks,
        logger=TensorBoardLogger(out, LOGS_FOLDER, ""),
        plugins=[AtomicCheckpoints()],
        enable_progress_bar=bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        benchmark=on_gpu,  # all inputs have one size, so cuDNN's search for the fastest kernels pays off
        use_distributed_sampler=False,  # the data module's samplers handle ranks and balance
    )


class EpochBar(RichProgressBar):  # type: ignore[misc]  # it has no types
    """Progress bar that counts epochs from 1, like the log; Lightning's shows "0/0" for a run's only epoch."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"


def _read_result(out: Path) -> TrainResult:
    path = out / METRICS_FILE
    try:
        content = read_json(path)
        epochs, best = int(content.pop("epochs")), int(content.pop("epoch"))
        metrics = {name: float(value) for name, value in content.items()}
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}): delete it, and --resume recreates it.") from None
    return TrainResult(out, epochs, best, metrics, rank_zero_only.rank == 0)


@contextmanager
def _silence_lightning() -> Iterator[None]:
    """Suppress Lightning's advice on settings, which are intended as they are, and its advertisements."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
