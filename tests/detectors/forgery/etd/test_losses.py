"""The losses of Exposing the Deception against sums written out in float64."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from facemill.detectors.forgery import ForgeryBatch, create_objective
from facemill.detectors.forgery.etd.losses import (
    LearnedWeighting,
    global_information_loss,
    local_information_loss,
    soft_cross_entropy,
)
from facemill.detectors.forgery.etd.network import ETD, ETDOptions, ETDOutput
from tests.detectors.forgery.losses import loss_of

LABELS = [0.0, 1.0, 0.35, 0.9, 1.0]  # mixed images have soft ones
B, N = len(LABELS), 3
SWITCHES = [(True, True), (True, False), (False, True), (False, False)]


def logits(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(values: Sequence[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def slow_divergence(teacher: Tensor, student: Tensor) -> float:
    """KL(teacher || student) at temperature 1.5, of logits [B, 2]: a mean over B."""
    total = 0.0
    for t, s in zip(teacher.tolist(), student.tolist(), strict=True):
        p, q = softmax(t, 1.5), softmax(s, 1.5)
        total += sum(p[k] * math.log(p[k] / q[k]) for k in (0, 1))
    return total / len(teacher)


def slow_lil(joint: Tensor, without: Tensor) -> float:
    """Eq. 8."""
    return math.exp(-sum(slow_divergence(joint, without[:, i]) for i in range(without.shape[1])))


def slow_cross_entropy(head: Tensor, labels: Sequence[float]) -> float:
    total = 0.0
    for values, label in zip(head.tolist(), labels, strict=True):
        real, fake = softmax(values)
        total -= label * math.log(fake) + (1 - label) * math.log(real)
    return total / len(labels)


def slow_gradient(function: Callable[[Tensor], float], at: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences."""
    gradient = torch.zeros_like(at)
    for index in range(at.numel()):
        ends = []
        for sign in (1, -1):
            moved = at.clone()
            moved.view(-1)[index] += sign * step
            ends.append(function(moved))
        gradient.view(-1)[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def close(ours: Tensor, expected: Tensor | float) -> None:
    torch.testing.assert_close(ours.double(), torch.as_tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-7)


def test_cross_entropy_takes_soft_labels() -> None:
    heads = logits(0, B, N)
    losses = soft_cross_entropy(heads, torch.tensor(LABELS))
    for i in range(N):
        close(losses[i], slow_cross_entropy(heads[:, i], LABELS))


def test_local_information_loss() -> None:
    joint, without = logits(1, B).requires_grad_(), (logits(1, B)[:, None] + 0.3 * logits(2, B, N)).requires_grad_()
    loss = local_information_loss(joint, without)
    loss.backward()
    close(loss, slow_lil(joint, without))
    assert joint.grad is None  # the teacher
    assert without.grad is not None
    close(without.grad, slow_gradient(lambda moved: slow_lil(joint, moved), without.detach()))


def test_global_information_loss() -> None:
    joint, fused = logits(3, B).requires_grad_(), logits(4, B).requires_grad_()
    loss = global_information_loss(joint, fused)
    loss.backward()
    close(loss, slow_divergence(joint, fused))
    assert joint.grad is None  # the teacher
    assert fused.grad is not None
    close(fused.grad, slow_gradient(lambda moved: slow_divergence(joint, moved), fused.detach()))


def test_equal_predictions_carry_no_information() -> None:
    same = logits(5, B)
    close(local_information_loss(same, same[:, None].expand(B, N, 2)), 1.0)
    close(global_information_loss(same, same), 0.0)


def test_certain_predictions_stay_finite() -> None:
    certain = torch.tensor([[-500.0, 500.0], [500.0, -500.0]]).requires_grad_()
    loss = local_information_loss(certain.detach(), -certain[:, None]) + global_information_loss(-certain, certain)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(certain.grad).all()


def test_learned_weighting() -> None:
    weighting = LearnedWeighting(3)
    assert weighting.sigma.tolist() == [1, 1, 1]
    values, sigmas = [2.5, 0.1, 0.7], [1.4, 0.3, 0.9]
    with torch.no_grad():
        weighting.sigma.copy_(torch.tensor(sigmas))
    losses = torch.tensor(values, requires_grad=True)
    total = weighting(losses)
    total.backward()
    close(total, slow_weighting(values, sigmas))
    assert losses.grad is not None
    assert weighting.sigma.grad is not None
    for k, (value, sigma) in enumerate(zip(values, sigmas, strict=True)):
        close(losses.grad[k], 1 / (2 * sigma**2))
        close(weighting.sigma.grad[k], -value / sigma**3 + 2 * sigma / (1 + sigma**2))


def slow_weighting(losses: Sequence[float], sigmas: Sequence[float]) -> float:
    pairs = zip(losses, sigmas, strict=True)
    return sum(0.5 * loss / sigma**2 + math.log(1 + sigma**2) for loss, sigma in pairs)


@pytest.mark.parametrize("local_heads", [False, True])
@pytest.mark.parametrize(("lil", "gil"), SWITCHES)
def test_the_whole_loss(lil: bool, gil: bool, local_heads: bool) -> None:
    """Eq. 13 of given predictions, for each row of Table 4."""
    fused, joint, without = logits(6, B), logits(7, B), logits(7, B)[:, None] + 0.2 * logits(8, B, N)
    local = logits(9, B, N) if local_heads else None
    with torch.device("meta"):
        detector = ETD(
            ETDOptions(backbone="resnet18", size=64, n=N, width=8, lil=lil, gil=gil, local_heads=local_heads)
        )
    objective = create_objective(detector)
    output = ETDOutput(fused[:, 1] - fused[:, 0], fused, joint, without, local)
    loss = loss_of(
        detector, ForgeryBatch(image=torch.zeros(B, 3, 64, 64), label=torch.tensor(LABELS)), output, objective
    )

    heads = [fused, joint, *without.unbind(1)]
    expected = {"classification": sum(slow_cross_entropy(head, LABELS) for head in heads)}
    if local is not None:
        expected["classification"] += sum(slow_cross_entropy(head, LABELS) for head in local.unbind(1)) / N
    if gil:
        expected["global_information"] = slow_divergence(joint, fused)
    if lil:
        expected["local_information"] = slow_lil(joint, without)
    assert list(loss.terms) == list(expected)
    for name, value in expected.items():
        close(loss.terms[name], value)
    close(loss.total, slow_weighting(list(expected.values()), [1.0] * len(expected)))
