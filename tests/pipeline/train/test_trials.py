"""First looks: a part of the data, a few crops by heart, one step of everything, a range of learning rates."""

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facemill import DetectorError
from facemill.detectors.forgery import Classification
from facemill.pipeline.commands import training
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import FaceDataset, TrainingData
from facemill.pipeline.runs.folder import read_config
from facemill.pipeline.train import train
from facemill.pipeline.train.trials import RateLoss, dry_run, find_rates, steepest
from tests.pipeline.train.test_release import Forgetful
from tests.pipeline.train.tiny import Tiny, recipe, use


def indices(loader: Any) -> list[int]:
    return [index for batch in loader for index in batch.index.tolist()]


def test_a_limit_is_a_share_of_each_class_in_both_splits(toy: Path) -> None:
    settings = TrainSettings(batch=2, limit=0.34, balance="none")
    data = TrainingData([toy], settings)
    chosen = indices(data.train_loader)
    labels = FaceDataset(toy, "train").labels
    assert np.bincount(labels[chosen]).tolist() == [5, 7]  # of 12 and 18
    data.set_epoch(1)
    assert sorted(indices(data.train_loader)) == sorted(chosen)
    assert np.bincount(FaceDataset(toy, "val").labels[indices(data.val_loader)]).tolist() == [3, 3]  # of 6 each
    assert sorted(indices(TrainingData([toy], settings, seed=1).train_loader)) != sorted(chosen)
    ranks = [TrainingData([toy], settings, rank=rank, world=2) for rank in range(2)]
    assert sorted(indices(ranks[0].train_loader) + indices(ranks[1].train_loader)) == sorted(chosen)


def test_overfitting_trains_and_validates_on_the_same_crops(toy: Path) -> None:
    data = TrainingData([toy], TrainSettings(batch=6, overfit=6))
    chosen = sorted(set(indices(data.train_loader)))
    assert chosen == indices(data.val_loader)
    assert np.bincount(FaceDataset(toy, "train").labels[chosen]).tolist() == [3, 3]


def test_overfitting_is_without_augmentation_and_lowers_the_loss(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    forward = Tiny.forward
    monkeypatch.setattr(Tiny, "forward", lambda self, images: seen.append(images) or forward(self, images))
    settings = ("train.overfit=4", "train.epochs=6", "train.augment.noise=1", "train.optimizer.lr=0.1")
    train(use(monkeypatch, Tiny), [toy], tmp_path, recipe(*settings), progress=False)
    crops = {image.numpy().tobytes() for images in seen for image in images}
    assert len(crops) == 4
    with (tmp_path / "log.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]


def test_a_dry_run_does_one_step_and_leaves_nothing(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    events: list[str] = []
    for name in ("forward", "after_step", "after_epoch"):
        own = getattr(Classification, name)
        record = lambda self, *args, name=name, own=own: events.append(name) or own(self, *args)  # noqa: E731
        monkeypatch.setattr(Classification, name, record)
    dry_run(use(monkeypatch, Tiny), [toy], recipe("train.batch=2", "train.accumulate=2"), progress=False)
    assert events == ["forward", "forward", "after_step", "after_epoch"]
    assert not list(tmp_path.iterdir())


def test_a_dry_run_finds_what_would_fail_at_the_end(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DetectorError, match="state that is not in its state dict"):
        dry_run(use(monkeypatch, Forgetful), [toy], recipe(), progress=False)


def test_a_range_test_ends_where_the_loss_diverges(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = recipe("train.optimizer.name=sgd", "train.batch=4")
    found = find_rates(use(monkeypatch, Tiny), [toy], settings, device="cpu", steps=60, highest=1e6)
    rates = [one.rate for one in found]
    assert rates == sorted(rates)
    assert rates[0] == 1e-7
    assert rates[-1] < 1e6
    assert found[1].rate / found[0].rate == pytest.approx((1e6 / 1e-7) ** (1 / 59))
    assert found == find_rates(use(monkeypatch, Tiny), [toy], settings, device="cpu", steps=60, highest=1e6)


def test_the_steepest_rate_is_where_the_loss_falls_most() -> None:
    found = [RateLoss(1, 5.0), RateLoss(2, 4.5), RateLoss(4, 2.0), RateLoss(8, 1.9), RateLoss(16, 9.0)]
    assert steepest(found) == 2
    assert steepest(found[3:]) is None
    assert steepest([]) is None


def test_the_command_s_first_looks_write_no_run(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = use(monkeypatch, Tiny), tmp_path / "run"
    options: dict[str, Any] = {"recipe": "default", "overrides": ["train.batch=4"], "device": "cpu", "workers": 0}
    training.train(name, [toy], out, find_lr=True, **options)
    assert capsys.readouterr().out.startswith("learning rate   loss\n     1.00e-07")
    training.train(name, [toy], out, dry_run=True, **options)
    assert "dry run: a step, a validation batch, saving and loading worked" in capsys.readouterr().out
    assert not out.exists()


def test_the_command_s_shorter_runs_are_recorded_as_such(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"recipe": "default", "overrides": ["train.epochs=1", "train.batch=4"], "device": "cpu"}
    training.train(use(monkeypatch, Tiny), [toy], tmp_path / "run", limit=0.5, overfit=8, workers=0, **settings)
    config = read_config(tmp_path / "run").train
    assert (config.limit, config.overfit) == (0.5, 8)
