"""An optimiser, a schedule and batches of one's own, as `module:Class`: a run, its resume, and refusals."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from facemill import ConfigError
from facemill.pipeline.train import train
from facemill.pipeline.train.trials import find_rates
from tests.pipeline.train.tiny import Tiny, killed_in_epoch, recipe, use

MODULE = '''
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from facemill.options import Options
from facemill.pipeline.data.batching import Batching


class Still(SGD):
    """Takes no weight decay."""

    def __init__(self, params, lr, momentum=0.5):
        super().__init__(params, lr=lr, momentum=momentum)


class Ramp(LRScheduler):
    def __init__(self, optimizer, epochs, last=0.1):
        self.epochs, self.last = epochs, last
        super().__init__(optimizer)

    def get_lr(self):
        return [rate * (1 - (1 - self.last) * self.last_epoch / self.epochs) for rate in self.base_lrs]


class FewOptions(Options):
    count: int = 3


class Few(Batching):
    options_type = FewOptions

    def draw(self, rng):
        return [rng.permutation(len(self.labels))[: self.batch] for _ in range(self.options.count)]
'''
OWN = (
    *("train.optimizer.name=steps:Still", "train.optimizer.lr=0.01", "train.optimizer.options={momentum: 0.8}"),
    *("train.schedule.name=steps:Ramp", "train.schedule.options={last: 0.5}"),
    *("train.batch_by=steps:Few", "train.batch_options={count: 2}"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "steps.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    use(monkeypatch, Tiny)
    return tmp_path


def run(toy: Path, out: Path, *sets: str, **options: Any) -> pandas.DataFrame:
    train("tiny", [toy], out, recipe(*OWN, *sets), device="cpu", progress=False, **options)
    return pandas.read_csv(out / "log.csv")


def test_they_are_used_and_a_killed_run_goes_on_alike(folder: Path, toy: Path) -> None:
    whole = run(toy, folder / "whole", "train.epochs=3")
    assert whole["learning_rate"].tolist() == pytest.approx([0.01, 0.01 * (1 - 0.5 / 3), 0.01 * (1 - 0.5 * 2 / 3)])
    code = json.loads((folder / "whole/config.json").read_text())["code"]
    assert {one["name"] for one in code} == {"steps:Still", "steps:Ramp", "steps:Few"}
    assert {one["file"] for one in code} == {str((folder / "steps.py").resolve())}
    with killed_in_epoch(2):
        run(toy, folder / "parts", "train.epochs=3")
    run(toy, folder / "parts", "train.epochs=3", resume=True)
    for file in ("log.csv", "metrics.json", "model.safetensors"):
        assert (folder / "parts" / file).read_bytes() == (folder / "whole" / file).read_bytes()


def test_rates_are_tried_with_them(folder: Path, toy: Path) -> None:
    assert len(find_rates("tiny", [toy], recipe(*OWN), device="cpu", steps=5)) == 5


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("train.optimizer.name=steps:Ramp", "steps:Ramp is no optimiser"),
        ("train.optimizer.options={speed: 3}", "The optimiser steps:Still cannot be made from train.optimizer"),
        ("train.schedule.name=steps:Gone", "The schedule steps:Gone cannot be imported"),
        ("train.schedule.name=cosin", r"There is no schedule 'cosin' \(did you mean 'cosine'"),
        ("train.schedule.name=MultiStepLR", "The schedule MultiStepLR cannot be made from train.schedule"),
        ("train.batch_by=steps:Still", "steps:Still is no batching"),
        ("train.batch_by=pairs", r"There is no batching 'pairs' \(did you mean 'pair'"),
        ("train.batch_options={cont: 2}", r"train.batch_by=steps:Few has no option 'cont' \(did you mean 'count'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_folder_is_taken(
    folder: Path, toy: Path, setting: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(toy, folder / "run", setting)
    assert not (folder / "run").exists()


def test_a_schedule_of_pytorch_is_used_by_name(folder: Path, toy: Path) -> None:
    sets = ("train.schedule.name=MultiStepLR", "train.schedule.options={milestones: [1], gamma: 0.5}")
    assert run(toy, folder / "run", *sets)["learning_rate"].tolist() == pytest.approx([0.01, 0.005])
