"""The optimiser and the learning rate schedule of a run, and sharpness-aware minimisation."""

import inspect
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import timm.optim
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from facemill import ConfigError
from facemill.pipeline.config.train_settings import OptimizerSettings, ScheduleSettings
from facemill.registry import OPTIMIZERS, SCHEDULES, nearest

__all__ = ["at_the_worst", "create_optimizer", "create_schedule"]

Groups = list[dict[str, Any]]
_LAYERS = (re.compile(r"(?:^|\.)stages\.(\d+)\."), re.compile(r"(?:^|\.)(?:blocks|layers)\.(\d+)\."))
"""What the number of a layer is in the names of its weights; the first one that a detector has is used."""
_WITH_CLOSURE = ("lbfgs", "sparseadam")


def create_optimizer(module: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """Create the optimiser of all trainable weights of a module: a detector, and its objective.

    Raises:
        ConfigError: if neither PyTorch nor timm has the optimiser, it does not take the options, or the module has
            no layers to decay learning rates by.
    """
    groups = _groups(module, settings)
    create, arguments = _find(settings)
    try:
        return create(groups, **{"lr": settings.lr, **arguments, **settings.options})
    except (TypeError, ValueError, RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(f"The optimiser {settings.name} cannot be made from train.optimizer: {error}.") from None


def create_schedule(optimizer: Optimizer, settings: ScheduleSettings, epochs: int) -> LRScheduler:
    """Create the schedule of a run of so many epochs; it is to be stepped after each.

    A user's own gets the number of epochs if it takes an argument `epochs`.

    Raises:
        ConfigError: if there is no such schedule, or it does not take the options.
    """
    s = settings
    if s.name not in ("constant", "step", "cosine"):
        kind = _schedule(s.name)
        given = {"epochs": epochs} if "epochs" in inspect.signature(kind).parameters else {}
        try:
            return kind(optimizer, **{**given, **s.options})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"The schedule {s.name} cannot be made from train.schedule: {error}.") from None
    if s.name == "step" and not s.warmup:
        return StepLR(optimizer, s.every, s.gamma)

    def factor(epoch: int) -> float:
        if epoch < s.warmup:
            return (epoch + 1) / (s.warmup + 1)
        if s.name == "step":
            return s.gamma ** (epoch // s.every)
        if s.name == "cosine":
            done = (epoch - s.warmup) / max(epochs - s.warmup, 1)
            return s.final + (1 - s.final) * (1 + math.cos(math.pi * min(done, 1))) / 2
        return 1.0

    return LambdaLR(optimizer, factor)


@contextmanager
@torch.no_grad()
def at_the_worst(module: nn.Module, radius: float) -> Iterator[None]:
    """Move the weights to where the loss is about highest within a radius, for gradients to be computed there.

    Sharpness-aware minimisation (Foret et al., ICLR 2021, Eq. 2).

    On exit the weights are what they were and have the gradients of the worst place, for the optimiser's step. So have
    buffers, such as norm statistics: what is computed in between must not count twice.

    Args:
        module: whose weights have gradients, which are cleared.
        radius: L2 distance over all weights together (the paper's rho).
    """
    weights = [weight for weight in module.parameters() if weight.grad is not None]
    before = [weight.detach().clone() for weight in weights]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.add_(gradient * (radius / (norm + 1e-12)))
        weight.grad = None
    with torch.enable_grad():
        yield
    for weight, old in zip(weights, before, strict=True):
        weight.copy_(old)
    for buffer, kept in buffers:
        buffer.copy_(kept)


def _find(s: OptimizerSettings) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
    """The optimiser's class, or timm's function, and its arguments; others than ours keep their own defaults."""
    decay: dict[str, Any] = {"weight_decay": s.weight_decay}
    if s.name == "sgd":
        return SGD, {"momentum": s.betas[0], **decay}
    if s.name in ("adam", "adamw"):
        return Adam if s.name == "adam" else AdamW, {"betas": s.betas, "eps": s.eps, **decay}
    given: dict[str, Any] = {key: getattr(s, key) for key in ("betas", "eps") if key in s.model_fields_set}
    # A second-order optimiser needs the graph of the gradients.
    known = [name for name in timm.optim.list_optimizers() if not timm.optim.get_optimizer_info(name).second_order]
    if s.name in known:
        momentum = {"momentum": s.betas[0]} if "betas" in given else {}
        return partial(timm.optim.create_optimizer_v2, opt=s.name), {**given, **momentum, **decay}
    kinds: dict[str, Any] = {name.lower(): kind for name, kind in vars(torch.optim).items() if _is_optimizer(kind)}
    if s.name in OPTIMIZERS:
        kinds[s.name] = OPTIMIZERS[s.name]
    if s.name not in kinds:
        hint = nearest(s.name, [*kinds, *known])
        raise ConfigError(
            f"Neither PyTorch nor timm has an optimiser {s.name!r}{hint}: see `timm.optim.list_optimizers()`."
        )
    taken = inspect.signature(kinds[s.name]).parameters
    return kinds[s.name], {key: value for key, value in {**given, **decay}.items() if key in taken}


def _schedule(name: str) -> type[LRScheduler]:
    if name in SCHEDULES:
        return SCHEDULES[name]
    kinds = {
        kind.__name__: kind
        for kind in vars(torch.optim.lr_scheduler).values()
        if inspect.isclass(kind) and issubclass(kind, LRScheduler) and kind is not LRScheduler
    }
    if name not in kinds:
        known = ["constant", "step", "cosine", *kinds]
        raise ConfigError(f"There is no schedule {name!r}{nearest(name, known)}: use one of {', '.join(known)}.")
    return kinds[name]


def _is_optimizer(kind: object) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Optimizer) and kind.__name__.lower() not in _WITH_CLOSURE


def _groups(module: nn.Module, s: OptimizerSettings) -> Groups:
    """Weights by learning rate and decay; one group, in the order of the module, unless the settings ask for more."""
    scale = _scales(module, s.layer_decay)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            key = (scale(name), s.no_decay and weight.ndim <= 1)  # biases and the weights of norms have one dimension
            lowered = {"lr": s.lr * key[0]} if key[0] != 1 else {}
            undecayed = {"weight_decay": 0.0} if key[1] else {}
            groups.setdefault(key, {"params": [], **lowered, **undecayed})["params"].append(weight)
    return list(groups.values())


def _scales(module: nn.Module, decay: float) -> Callable[[str], float]:
    """Factor of the learning rate by a weight's name: 1 after the layers, `decay` in the last, then its powers."""
    names = [name for name, _ in module.named_parameters()]
    if decay == 1:
        return lambda name: 1.0
    layers = next((pattern for pattern in _LAYERS if any(map(pattern.search, names))), None)
    if layers is None:
        raise ConfigError("The detector's weights are not in numbered stages, blocks or layers: leave out layer_decay.")
    last = max(int(found[1]) for found in map(layers.search, names) if found)

    def scale(name: str) -> float:
        found = layers.search(name)
        return float(decay ** (last + 1 - int(found[1]))) if found else 1.0

    return scale
