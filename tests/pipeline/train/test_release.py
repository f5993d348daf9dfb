"""What is released scores as what was trained, or the run fails."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from timm.layers.norm_act import SyncBatchNormAct
from torch import Tensor, nn

from facemill import DetectorError
from facemill.detectors.forgery import ForgeryOutput
from facemill.pipeline.runs import load_run
from facemill.pipeline.train import train
from facemill.pipeline.train.module import ForgeryModule
from tests.pipeline.train.tiny import Tiny, TinyOptions, recipe, use

keep = SyncBatchNormAct.forward


class Tied(Tiny):
    """One weight under two names."""

    def __init__(self, options: TinyOptions) -> None:
        super().__init__(options)
        self.second_head = self.head


class Overlapping(Tiny):
    """Two weights that are parts of one, which safetensors cannot save."""

    def __init__(self, options: TinyOptions) -> None:
        super().__init__(options)
        whole = torch.ones(6)
        self.first, self.second = nn.Parameter(whole[:4]), nn.Parameter(whole[2:])


class Forgetful(Tiny):
    """Scores by how many steps it has made, which its state dict does not hold."""

    steps = 0

    def forward(self, images: Tensor) -> ForgeryOutput:
        return ForgeryOutput(super().forward(images).logit + self.steps)

    def after_step(self) -> None:
        self.steps += 1


def synchronised(*args: Any, **options: Any) -> ForgeryModule:
    """As on several GPUs."""
    return ForgeryModule(*args, **{**options, "synchronised": True})


def test_norms_over_all_ranks_are_released_as_ordinary_ones(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, seen = use(monkeypatch, Tiny), []
    monkeypatch.setattr(SyncBatchNormAct, "forward", lambda self, x: seen.append(x) or keep(self, x))
    train(name, [toy], tmp_path / "ordinary", recipe(), progress=False)
    monkeypatch.setattr("facemill.pipeline.train.fit.ForgeryModule", synchronised)
    train(name, [toy], tmp_path / "synchronised", recipe(), progress=False)
    assert seen
    weights = [load_file(tmp_path / run / "model.safetensors") for run in ("ordinary", "synchronised")]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value)


def test_a_conversion_that_drops_activations_is_not_released(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facemill.pipeline.train.fit.ForgeryModule", synchronised)
    by_torch = torch.nn.SyncBatchNorm.convert_sync_batchnorm
    monkeypatch.setattr("facemill.pipeline.train.module.convert_sync_batchnorm", by_torch)
    with pytest.raises(DetectorError, match=r"give other scores in a new tiny than in training"):
        train(use(monkeypatch, Tiny), [toy], tmp_path, recipe(), progress=False)
    assert not {"model.safetensors", "metrics.json"} & {path.name for path in tmp_path.iterdir()}


def test_a_detector_whose_state_dict_lacks_something_is_not_released(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DetectorError, match="state that is not in its state dict"):
        train(use(monkeypatch, Forgetful), [toy], tmp_path, recipe(), progress=False)


def test_weights_that_score_otherwise_than_was_logged_are_not_released(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where validation has run another network than the one that is saved."""
    score = ForgeryModule.score
    monkeypatch.setattr(ForgeryModule, "score", lambda self, raw, detector: score(self, raw, detector) + 1)
    with pytest.raises(DetectorError, match="give other scores"):
        train(use(monkeypatch, Tiny), [toy], tmp_path, recipe(), progress=False)


def test_tied_weights_are_released(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(use(monkeypatch, Tied), [toy], tmp_path, recipe(), progress=False)
    detector, _ = load_run(tmp_path)
    assert detector.second_head.weight is detector.head.weight
    best = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(detector.head.weight, best["detector.head.weight"])


def test_weights_that_cannot_be_saved_are_refused_before_the_first_step(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DetectorError, match="cannot be saved as safetensors"):
        train(use(monkeypatch, Overlapping), [toy], tmp_path / "run", recipe(), progress=False)
    assert not (tmp_path / "run").exists()


def test_the_logged_loss_is_that_of_the_released_weights(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facemill.pipeline.data import FaceDataset
    from facemill.pipeline.evaluate.scoring import score_faces

    report = train(use(monkeypatch, Tiny), [toy], tmp_path, recipe(), progress=False)
    rows = score_faces(load_run(tmp_path)[0], FaceDataset(toy, "val")).to_pylist()
    losses = [math.log1p(math.exp(row["logit"])) - row["label"] * row["logit"] for row in rows]
    assert report.metrics["val_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
