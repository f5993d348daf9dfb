"""`facemill train`: train a detector on datasets into a run folder; a run killed at any time can be resumed."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from facemill import ConfigError
from facemill.detectors.forgery import create, options_of
from facemill.manifests.printable import printable
from facemill.manifests.remote import origin
from facemill.manifests.shards.dataset import DATASET_FILE, read_dataset
from facemill.manifests.storage import read_json, sha256_of
from facemill.options import check_options
from facemill.own_code import changes, describe, is_own, use_current_folder
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import TrainingData
from facemill.pipeline.data.loader import default_workers
from facemill.pipeline.data.split import Roots, list_folders
from facemill.pipeline.runs.folder import (
    CONFIG_FILE,
    LAST_CHECKPOINT,
    METRICS_FILE,
    RunConfig,
    read_config,
    write_trained_on,
)
from facemill.pipeline.runs.framing import crop_settings
from facemill.pipeline.train.claim import claim_folder, with_initial_weights
from facemill.pipeline.train.conditions import Conditions, record_conditions
from facemill.pipeline.train.data_checks import check_data
from facemill.pipeline.train.device import channels_last, count_processes, is_mixed, launched, uses_gpu
from facemill.pipeline.train.epoch_log import EpochLog
from facemill.pipeline.train.initial import start_from
from facemill.pipeline.train.loop import TrainingLoop
from facemill.pipeline.train.module import ForgeryModule
from facemill.pipeline.train.optimizers import create_optimizer, create_schedule
from facemill.pipeline.train.ranks import on_rank_0
from facemill.pipeline.train.release import release, try_release
from facemill.registry import BATCHINGS, FORGERY_DETECTORS, OBJECTIVES, OPTIMIZERS, SCHEDULES, TRANSFORMS, Registry

__all__ = ["TrainResult", "configure", "train"]

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
    cache: str | Path | None = None,
    compiled: bool = False,
    progress: bool = True,
    init_from: str | Path | None = None,
    steps: int | None = None,
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
        resume: continue the run in `out`, or start it if there is none; with a higher `train.epochs`, extend it. The
            run's choice of methods is kept if the recipe makes none.
        device: `auto`, `cpu` or `cuda`.
        devices: GPUs per node (DDP), or processes on a CPU; None for all GPUs, one process on a CPU, or as many
            as torchrun or srun has started.
        workers: data-loading workers per device; 0 to load in the training process, None to choose by the
            number of cores.
        cache: folder for decoded crops, which later epochs and runs then read instead of decoding them.
        compiled: run the detector through `torch.compile`.
        progress: show a progress bar.
        init_from: a finished run, of any detector; this run starts from those of its weights that fit.
        steps: for trials, the largest number of weight updates in an epoch, and of batches in a validation.

    Raises:
        ConfigError: if a name or option is unknown, datasets or splits share samples, `out` holds another run,
            or a loss or a validation output is not finite; or if the cache has no space.
        DatasetError: if a dataset is unfinished or damaged, or lacks a split or a class in it.
        DetectorError: if the detector's weights cannot be saved, or give different scores after loading.
    """
    data, out, cache = list_folders(data), Path(out), Path(cache) if cache else None
    config = configure(detector, data, recipe)
    if resume and (out / CONFIG_FILE).is_file():
        earlier = read_config(out)
        if not (recipe.train.methods or recipe.train.without):
            kept = {"methods": earlier.train.methods, "without": earlier.train.without}
            config = config.model_copy(update={"train": config.train.model_copy(update=kept)})
        if init_from is None and not (out / LAST_CHECKPOINT).is_file():
            init_from = earlier.init_from  # no epoch has ended: the run starts again
        for sentence in changes(earlier.code):
            _note(sentence)
    if init_from is not None:
        config = with_initial_weights(config, Path(init_from))
    contents, warnings = check_data(data, config, cache)
    for warning in warnings:
        _note(warning)
    on_gpu = uses_gpu(device)
    if resume and (out / METRICS_FILE).is_file():
        _note(claim_folder(out, config, resume=True))
        finished = _read_result(out)
        if finished.epochs == config.train.epochs:
            return finished
    # All checks come before the folder is claimed.
    torch.manual_seed(config.seed)  # for weight initialisation
    nodes, count = count_processes(devices, on_gpu=on_gpu)
    ranks = nodes * count
    synchronised = on_gpu and ranks > 1
    initial = None if init_from is None else start_from(config, Path(init_from))
    network = create(detector, **config.options) if initial is None else initial.detector
    module = ForgeryModule(network, config.train, seed=config.seed, compiled=compiled, synchronised=synchronised)
    optimizer = create_optimizer(module, config.train.optimizer)
    schedule = create_schedule(optimizer, config.train.schedule, config.train.epochs)
    settings = config.train.model_copy(update={"batch": _per_rank(config.train, ranks)})
    workers = default_workers(count) if workers is None else workers
    mixed = is_mixed(config.train.precision, on_gpu=on_gpu)
    if rank_zero_only.rank == 0:
        try_release(module.detector, config)
        # Only rank 0 claims the folder, even if others get here first; they wait for it in `launched`.
        _note(claim_folder(out, config, resume=resume))
        write_trained_on(out, contents)
        if initial is not None and not (out / LAST_CHECKPOINT).is_file():
            _note(initial.describe(Path(config.init_from or "")))
    if on_gpu:
        channels_last(module)
        torch.backends.cudnn.benchmark = True  # all inputs have one size, so the search for the fastest kernels pays
    with launched(on_gpu=on_gpu, nodes=nodes, processes=count, mixed=mixed) as fabric:
        order = {"seed": config.seed, "rank": fabric.global_rank, "world": ranks}
        read: dict[str, Any] = {"fields": module.objective.fields, "sampling": network.options.sampling, "cache": cache}
        faces = TrainingData(data, settings, workers=workers, **read, **order)
        loop = TrainingLoop(fabric, module, optimizer, schedule, faces, out, settings, seed=config.seed, steps=steps)
        loop.resume()
        conditions = Conditions(
            device=torch.cuda.get_device_name(fabric.device) if on_gpu else "cpu",
            precision="bf16" if mixed else "float32",
            nodes=nodes,
            ranks=ranks,
            threads=None if on_gpu else torch.get_num_threads(),
            norms="synchronised" if synchronised else "per rank",
            compiled=compiled,
        )
        on_rank_0(fabric, lambda: _note(record_conditions(out, conditions, first_epoch=len(loop.rows))))
        epochs, writes = config.train.epochs, fabric.is_global_zero
        with EpochLog(out, epochs=epochs, steps=faces.steps, progress=progress, writes=writes) as log:
            loop.run(log)
        first = next(iter(faces.val_loader))
        on_rank_0(fabric, lambda: release(out, module, config, faces, first, fabric.device, mixed=mixed))
    return _read_result(out)


def _note(sentence: str | None) -> None:
    if sentence is not None and rank_zero_only.rank == 0:
        logger.info("Note: %s", sentence)
        print(f"Note: {printable(sentence)}", file=sys.stderr)


def configure(detector: str, data: Sequence[Path], recipe: Recipe) -> RunConfig:
    """Complete a detector's options, and identify the datasets."""
    s = recipe.train
    parts: list[tuple[Registry[Any], str]] = [(FORGERY_DETECTORS, detector), (OBJECTIVES, s.objective.name)]
    parts += [(TRANSFORMS, name) for name in s.augment.more]
    parts += [(OPTIMIZERS, s.optimizer.name), (SCHEDULES, s.schedule.name), (BATCHINGS, s.batch_by)]
    own = [(registry, name) for registry, name in parts if is_own(name)]
    if own:
        use_current_folder()
    code = tuple(describe(name) for registry, name in own if registry[name])  # which imports it
    options = options_of(detector, s.model)
    if s.batch_by != "none":
        check_options(f"train.batch_by={s.batch_by}", BATCHINGS[s.batch_by].options_type, s.batch_options)
    recipes = [read_dataset(folder).recipe for folder in data]
    return RunConfig(
        detector=detector,
        options=options.model_dump(mode="json"),
        train=s,
        seed=recipe.seed,
        data=tuple(map(origin, data)),
        dataset_sha256=tuple(sha256_of(folder / DATASET_FILE) for folder in data),
        crop=crop_settings(data[0]),
        recipe=dict(recipes[0]),
        code=code,
    )


def _per_rank(settings: TrainSettings, ranks: int) -> int:
    batch = settings.batch
    if settings.forgeries != "none" and batch % (2 * ranks):
        raise ConfigError(
            f"train.batch={batch} is no multiple of {2 * ranks}, which as many reals as forgeries on each device need: "
            "choose such a multiple, or train.forgeries=none."
        )
    if batch % ranks:
        raise ConfigError(f"train.batch={batch} is not divisible by {ranks} devices: choose a multiple of {ranks}.")
    if batch == ranks:
        raise ConfigError("Batch normalisation needs more than one crop per device: choose a larger train.batch.")
    return batch // ranks


def _read_result(out: Path) -> TrainResult:
    path = out / METRICS_FILE
    try:
        content = read_json(path)
        epochs, best = int(content.pop("epochs")), int(content.pop("epoch"))
        metrics = {name: float(value) for name, value in content.items()}
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}): delete it, and --resume recreates it.") from None
    return TrainResult(out, epochs, best, metrics, rank_zero_only.rank == 0)
