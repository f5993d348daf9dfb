"""Detectors of a few weights, for what training does whatever the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from facemill.detectors.forgery import ForgeryDetector, ForgeryOptions, ForgeryOutput, InputSpec
from facemill.pipeline.config.recipe import Recipe, load_recipe
from facemill.pipeline.train.epoch_log import EpochLog
from facemill.registry import FORGERY_DETECTORS

__all__ = ["Tiny", "killed_in_epoch", "recipe", "use"]


class TinyOptions(ForgeryOptions):
    size: int = 16


class Tiny(ForgeryDetector):
    """A convolution, a norm with its activation inside as timm's are, and a classifier of averages."""

    options_type = TinyOptions

    def __init__(self, options: TinyOptions) -> None:
        super().__init__(options)
        self.input_spec = InputSpec(options.size)
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = BatchNormAct2d(4)
        self.head = nn.Linear(4, 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.norm

    def forward(self, images: Tensor) -> ForgeryOutput:
        return ForgeryOutput(self.head(self.norm(self.conv(images)).mean((2, 3))).squeeze(1))


def use(monkeypatch: pytest.MonkeyPatch, detector: type[ForgeryDetector]) -> str:
    """Register a detector for the time of a test; returns its name."""
    monkeypatch.setitem(FORGERY_DETECTORS._found, "tiny", detector)
    torch.manual_seed(0)
    return "tiny"


@contextmanager
def killed_in_epoch(number: int) -> Iterator[None]:
    """Within this context, a run is killed in an epoch, counted from 1, before its checkpoint."""
    keep = EpochLog.epoch

    def die(self: EpochLog, rows: Any) -> None:
        if len(rows) == number:
            raise MemoryError
        keep(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochLog, "epoch", die)
        with pytest.raises(MemoryError):
            yield


def recipe(*settings: Any) -> Recipe:
    return load_recipe("default", ["train.batch=10", "train.epochs=2", *settings])
