"""What a training step and an epoch do, whatever the detector."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facemill.detectors.forgery import (
    Classification,
    ForgeryBatch,
    ForgeryObjective,
    ForgeryOutput,
    InputSpec,
    LossTerms,
    TrainingStep,
)
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.train import train
from facemill.pipeline.train.epoch_log import write_rows
from facemill.pipeline.train.optimizers import create_optimizer
from tests.pipeline.train.tiny import Tiny, TinyOptions, recipe, use

RATE, BETAS, EPS, DECAY = 0.01, (0.7, 0.95), 1e-6, 0.3
GRADIENTS = (2.0, -1.0, 0.5)


def adam(weight: float, decoupled: bool) -> float:
    """Kingma and Ba, Algorithm 1; decay as L2 regularisation, or apart (Loshchilov and Hutter, Algorithm 2)."""
    first = second = 0.0
    for step, gradient in enumerate(GRADIENTS, 1):
        g = gradient if decoupled else gradient + DECAY * weight
        first = BETAS[0] * first + (1 - BETAS[0]) * g
        second = BETAS[1] * second + (1 - BETAS[1]) * g**2
        if decoupled:
            weight -= RATE * DECAY * weight
        weight -= RATE * (first / (1 - BETAS[0] ** step)) / ((second / (1 - BETAS[1] ** step)) ** 0.5 + EPS)
    return weight


def sgd(weight: float) -> float:
    velocity = 0.0
    for step, gradient in enumerate(GRADIENTS):
        g = gradient + DECAY * weight
        velocity = g if step == 0 else BETAS[0] * velocity + g
        weight -= RATE * velocity
    return weight


@pytest.mark.parametrize(
    ("name", "expected"),
    [("adam", lambda w: adam(w, False)), ("adamw", lambda w: adam(w, True)), ("sgd", sgd)],
    ids=["adam", "adamw", "sgd"],
)
def test_weights_move_as_the_optimiser_s_paper_says(name: str, expected: Callable[[float], float]) -> None:
    settings = TrainSettings.model_validate(
        {"optimizer": {"name": name, "lr": RATE, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}}
    )
    detector = Tiny(TinyOptions()).double()
    optimizer = create_optimizer(detector, settings.optimizer)
    before = {key: weight.detach().clone() for key, weight in detector.named_parameters()}
    for gradient in GRADIENTS:
        for weight in detector.parameters():
            weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    for key, weight in detector.named_parameters():
        np.testing.assert_allclose(
            weight.detach().flatten(), [expected(w) for w in before[key].flatten().tolist()], rtol=1e-9
        )


def pixels(spec: InputSpec, images: Tensor) -> Tensor:
    """Normalised images as values in 0..1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return images * std + mean


class Recording(Tiny):
    """Writes down what it is given and told, in the order of events."""

    events: list[tuple[str, Any]]

    def forward(self, images: Tensor) -> ForgeryOutput:
        self.events.append(("train" if self.training else "eval", pixels(self.input_spec, images)))
        norm = self.norm
        assert norm.training == self.training
        return super().forward(images)

    def after_step(self) -> None:
        self.events.append(("after step", self.head.weight.detach().clone()))

    def after_epoch(self) -> None:
        self.events.append(("after epoch", self.norm.running_mean.clone()))


class Crops:
    """Which stored crops, mirrored or not, images in 0..1 are."""

    def __init__(self, root: Path, split: str) -> None:
        faces = FaceDataset(root, split)
        crops = [faces[index]["image"] for index in range(len(faces))]
        self.known = {crop.numpy().tobytes(): "stored" for crop in crops}
        self.known |= {crop.flip(-1).numpy().tobytes(): "mirrored" for crop in crops}

    def kinds(self, images: Tensor) -> set[str]:
        return {self.known.get(image.mul(255).round().byte().numpy().tobytes(), "other") for image in images}


@pytest.fixture(scope="module")
def recorded(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any]]:
    """Two epochs of six batches of six crops, two a step, all mirrored."""
    Recording.events = []
    settings = ("train.batch=6", "train.accumulate=2", "train.augment.flip=1", "train.model.size=64")
    with pytest.MonkeyPatch.context() as patch:
        train(use(patch, Recording), [toy], tmp_path_factory.mktemp("loop"), recipe(*settings), progress=False)
    return Recording.events


def of(events: list[tuple[str, Any]], kind: str) -> list[Any]:
    return [value for name, value in events if name == kind]


def test_the_detector_is_told_of_every_step_and_epoch(recorded: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in recorded]
    assert (names.count("train"), names.count("after step"), names.count("after epoch")) == (12, 6, 2)
    steps = ["train", "train", "after step"] * 3
    epoch = [*steps, "eval", "eval", "after epoch"]
    assert names[: 2 * len(epoch)] == epoch * 2
    weights = of(recorded, "after step")  # told after the weights have moved
    assert all(not torch.equal(one, other) for one, other in pairwise(weights))


def test_training_crops_are_augmented_and_validation_crops_are_not(toy: Path, recorded: list[tuple[str, Any]]) -> None:
    assert Crops(toy, "train").kinds(torch.cat(of(recorded, "train"))) == {"mirrored"}
    validated = torch.cat(of(recorded, "eval")[:2])
    assert Crops(toy, "val").kinds(validated) == {"stored"}
    stored = FaceDataset(toy, "val")
    for image, index in zip(validated, range(len(stored)), strict=True):
        torch.testing.assert_close(image * 255, stored[index]["image"].float(), rtol=0, atol=1e-3)


def test_the_order_of_crops_is_another_in_each_epoch(recorded: list[tuple[str, Any]]) -> None:
    batches = of(recorded, "train")
    assert not torch.equal(torch.cat(batches[:6]), torch.cat(batches[6:]))


def test_batch_normalisation_learns(recorded: list[tuple[str, Any]]) -> None:
    first, second = of(recorded, "after epoch")
    assert first.abs().max() > 0
    assert not torch.equal(first, second)


class LateTerm(Classification):
    """Has a second term of the loss from the second epoch on."""

    def forward(self, output: ForgeryOutput, batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        base = super().forward(output, batch, step)
        late = {"late": output.logit.square().mean()} if step.epoch else {}
        return LossTerms(base.total, {**base.terms, **late})


def test_a_term_that_begins_later_has_a_column(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiny, "objective_type", LateTerm)
    train(use(monkeypatch, Tiny), [toy], tmp_path, recipe(), progress=False)
    names, first, second = ((tmp_path / "log.csv").read_text()).splitlines()
    column = names.split(",").index("train_late")
    assert first.split(",")[column] == ""
    assert float(second.split(",")[column]) > 0


def test_a_log_s_columns_are_those_of_all_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "log.csv", [{"epoch": 0, "a": 1.0}, {"epoch": 1, "b": 2.0}])
    assert (tmp_path / "log.csv").read_text() == "epoch,a,b\n0,1.0,\n1,,2.0\n"


def test_a_term_may_not_take_the_total_s_name() -> None:
    with pytest.raises(ValueError, match="term named 'loss' would overwrite the total"):
        LossTerms(torch.zeros(()), {"loss": torch.zeros(())})


class MeanLogit(ForgeryObjective):
    def forward(self, output: ForgeryOutput, batch: ForgeryBatch, step: TrainingStep) -> LossTerms:
        loss = output.logit.sum() / len(batch.labels)
        return LossTerms(loss, {"slope": loss})


class Slope(Tiny):
    """Has a loss whose gradient is that of the mean logit of a batch; records the gradient that moves the weights."""

    objective_type = MeanLogit
    seen: list[float]

    def after_step(self) -> None:
        self.seen.append(float(self.head.bias.detach()))


def test_a_short_last_group_is_averaged_over_its_own_batches(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Slope.seen = []
    settings = ("train.batch=8", "train.epochs=1", "train.accumulate=3", "train.optimizer.name=sgd")
    more = ("train.optimizer.betas=[0,0]", "train.optimizer.lr=0.5")
    train(use(monkeypatch, Slope), [toy], tmp_path, recipe(*settings, *more), progress=False)
    # Four batches: three in the first group, one in the second, and a gradient of 1 for the bias in both.
    [first, second] = Slope.seen
    assert first - second == pytest.approx(0.5, abs=1e-6)


def test_losses_are_read_every_fifty_steps_only(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = Tensor.__float__

    def counted(self: Tensor) -> float:
        nonlocal reads
        reads += 1
        return read(self)

    monkeypatch.setattr(Tensor, "__float__", counted)
    monkeypatch.setattr("facemill.pipeline.train.release.write_card", lambda *_: None)  # reads figures, after the loop
    train(use(monkeypatch, Tiny), [toy], tmp_path, recipe("train.batch=2", "train.epochs=1"), progress=False)
    # Of 18 steps the first and the last; then the loss, AUC and accuracy of the validation.
    assert reads == 2 + 3
