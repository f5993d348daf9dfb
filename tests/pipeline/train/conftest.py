"""A small dataset to train on, and one finished run."""

from pathlib import Path

import pytest

from pipeline.recipe import load_recipe
from pipeline.train import TrainReport, train
from tests.pipeline.data.built import build

SMALL = (
    "train.model.backbone=tinynet_e",
    "train.model.size=64",
    "train.batch=12",
    "train.epochs=3",
    "train.schedule.name=step",
    "train.schedule.every=2",
    "train.augment.jpeg=0.5",
)
"""MAT has all that a checkpoint must hold: centres, an epoch count, random heads."""


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="session")
def finished(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainReport:
    out = tmp_path_factory.mktemp("finished") / "run"
    return train("mat", [toy], out, load_recipe("default", SMALL), progress=False)
