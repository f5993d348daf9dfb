"""RECCE's loss terms against values made by hand."""

import math

import pytest
import torch
from torch import Tensor

from facemill.detectors.forgery import ForgeryBatch
from facemill.detectors.forgery.recce.network import RECCE, RECCEOptions, RECCEOutput
from facemill.detectors.forgery.recce.objective import metric_loss
from tests.detectors.forgery.losses import loss_of


def small(**options: float) -> RECCE:
    torch.manual_seed(0)
    return RECCE(RECCEOptions(backbone="tinynet_e", size=64, stages=(4, 5, 6), **options))


def at(*degrees: float) -> Tensor:
    """Vectors of length 3 in these directions."""
    angles = torch.tensor(degrees) * math.pi / 180
    return 3 * torch.stack((angles.cos(), angles.sin()), 1)


def s(degrees: float) -> float:
    return (math.cos(math.radians(degrees)) + 1) / 2


@pytest.mark.parametrize(
    ("degrees", "labels", "expected"),
    [
        # Two reals 30 apart; the fake is 90 and 60 from them.
        ((0, 30, 90), (0, 0, 1), 1 - s(30) + (s(90) + s(60)) / 2),
        # Three reals: all three pairs; the fakes' own similarity does not count.
        ((0, 30, 90, 180, 200), (0, 0, 0, 1, 1), None),
        ((0, 120), (0, 1), 1 + s(120)),  # no two reals
        ((0, 120), (0, 0), 1 - s(120)),  # no fake
        ((0, 120), (1, 1), 1.0),
        ((10, 10, 190), (0, 0, 1), 0.0),  # the least that there is
        ((0, 30, 90), (0, 0.4, 1), 1 + s(90)),  # a mixed image takes no part
    ],
)
def test_metric_loss(degrees: tuple[float, ...], labels: tuple[float, ...], expected: float | None) -> None:
    if expected is None:
        reals = [s(30), s(90), s(60)]
        mixed = [s(180), s(200), s(150), s(170), s(90), s(110)]
        expected = 1 - sum(reals) / 3 + sum(mixed) / 6
    assert metric_loss(at(*degrees), torch.tensor(labels)).item() == pytest.approx(expected, abs=1e-6)


def output_of(differences: list[float], logits: list[float], *directions: Tensor) -> RECCEOutput:
    difference = torch.tensor(differences)[:, None, None, None].expand(-1, 3, 4, 4)
    return RECCEOutput(torch.tensor(logits), difference, directions, None)


def batch_of(labels: list[float]) -> ForgeryBatch:
    return ForgeryBatch(image=torch.zeros(len(labels), 3, 4, 4), label=torch.tensor(labels))


def test_only_reals_are_reconstructed_and_terms_are_weighed() -> None:
    output = output_of([0.2, 0.4, 0.9], [0.0, 0.0, 0.0], at(0, 30, 90), at(0, 0, 180))
    loss = loss_of(small(reconstruction_weight=0.5, metric_weight=0.25), batch_of([0.0, 0.0, 1.0]), output)
    metric = 1 - s(30) + (s(90) + s(60)) / 2 + 0
    expected = {"classification": math.log(2), "reconstruction": 0.3, "metric": metric}
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(expected, abs=1e-6)
    assert loss.total.item() == pytest.approx(math.log(2) + 0.5 * 0.3 + 0.25 * metric, abs=1e-6)


def test_the_weights_are_the_release_s() -> None:
    loss = loss_of(small(), batch_of([0.0, 1.0]), output_of([0.5, 0.5], [0.0, 0.0], at(0, 90)))
    assert loss.total.item() == pytest.approx(math.log(2) + 0.1 * 0.5 + 0.1 * 1.5, abs=1e-6)


@pytest.mark.parametrize("labels", [[1.0, 1.0], [0.4, 0.6]])
def test_fakes_and_mixed_images_are_not_reconstructed(labels: list[float]) -> None:
    loss = loss_of(small(), batch_of(labels), output_of([0.5, 0.5], [0.0, 0.0], at(0, 90)))
    assert loss.terms["reconstruction"].item() == 0


def test_the_error_of_fakes_teaches_the_decoder_nothing_but_that_of_reals_does() -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for labels, learns in (([1.0, 1, 1], False), ([0.0, 1, 1], True)):
        detector = small(metric_weight=0).train()
        batch = ForgeryBatch(image=images, label=torch.tensor(labels))
        loss_of(detector, batch).terms["reconstruction"].backward()
        moved = [bool((weight.grad != 0).any()) for weight in detector.decoder.parameters()]
        assert any(moved) == learns
