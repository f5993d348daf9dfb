"""First looks before a long run: one step of everything, and a search for the learning rate."""

import math
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import count, islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from facemill.detectors.forgery import ForgeryBatch, create
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.data import TrainingData
from facemill.pipeline.data.split import Roots, list_folders
from facemill.pipeline.train.device import is_mixed, launched, uses_gpu
from facemill.pipeline.train.fit import configure, train
from facemill.pipeline.train.module import ForgeryModule
from facemill.pipeline.train.optimizers import create_optimizer

__all__ = ["RateLoss", "dry_run", "find_rates", "steepest"]

SMOOTHING = 0.9
DIVERGED = 4.0  # multiple of the lowest loss at which the range test ends


def dry_run(detector: str, data: Roots, recipe: Recipe, **options: Any) -> None:
    """Do one weight update, one validation batch and all checks, saves and loads of a run, in a temporary folder.

    Args:
        options: of `train`.

    Raises:
        FacemillError: as `train` does.
    """
    once = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 1})})
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchmetrics.*")  # one batch may lack a class
        train(detector, data, Path(folder) / "run", once, steps=1, **options)


class RateLoss(NamedTuple):
    """A learning rate, and the training loss at it: an exponential mean over the steps so far."""

    rate: float
    loss: float


def find_rates(
    detector: str,
    data: Roots,
    recipe: Recipe,
    *,
    device: str = "auto",
    workers: int = 0,
    cache: Path | None = None,
    steps: int = 100,
    lowest: float = 1e-7,
    highest: float = 10.0,
) -> list[RateLoss]:
    """Learning-rate range test (Smith, 2017): train while the rate grows exponentially, until the loss diverges.

    Nothing is written. Weight updates are made after every batch, without accumulation, on one device.
    """
    data = list_folders(data)
    config = configure(detector, data, recipe)
    on_gpu = uses_gpu(device)
    torch.manual_seed(config.seed)
    module = ForgeryModule(create(detector, **config.options), config.train, seed=config.seed)
    optimizer = create_optimizer(module, config.train.optimizer)
    scales = [group["lr"] / config.train.optimizer.lr for group in optimizer.param_groups]
    read: dict[str, Any] = {"fields": module.objective.fields, "sampling": module.detector.options.sampling}
    faces = TrainingData(data, config.train, workers=workers, seed=config.seed, cache=cache, **read)
    mixed = is_mixed(config.train.precision, on_gpu=on_gpu)
    found: list[RateLoss] = []
    with launched(on_gpu=on_gpu, nodes=1, processes=1, mixed=mixed) as fabric:
        wrapped, optimizer = fabric.setup(module, optimizer)
        wrapped.train()
        mean = 0.0
        for step, (epoch, raw) in enumerate(islice(_forever(faces), steps)):
            rate = lowest * (highest / lowest) ** (step / max(steps - 1, 1))
            for group, scale in zip(optimizer.param_groups, scales, strict=True):
                group["lr"] = rate * scale
            torch.manual_seed(hash((config.seed, step)))
            loss, _ = wrapped(partial(raw.to, fabric.device), epoch, step)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * float(loss.detach())
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(smooth) or smooth > DIVERGED * min((one.loss for one in found), default=smooth):
                break
            found.append(RateLoss(rate, smooth))
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            module.after_step()
    return found


def steepest(found: list[RateLoss]) -> float | None:
    """The learning rate at which the loss falls fastest; None if it never falls."""
    falls = [(after.loss - before.loss, before.rate) for before, after in pairwise(found)]
    fall, rate = min(falls, default=(0.0, 0.0))
    return rate if fall < 0 else None


def _forever(faces: TrainingData) -> Iterator[tuple[int, ForgeryBatch]]:
    for epoch in count():
        faces.set_epoch(epoch)
        for raw in faces.train_loader:
            yield epoch, raw
