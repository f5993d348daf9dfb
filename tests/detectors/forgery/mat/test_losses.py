import math
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facemill.detectors.forgery.mat.losses import AdditiveMarginLoss, RegionIndependenceLoss, region_vectors
from tests.detectors.forgery.mat import loops

BATCH, HEADS, CHANNELS = 4, 3, 6


def unit_vectors(seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(BATCH, HEADS, CHANNELS))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def equation_4(centres: np.ndarray, vectors: np.ndarray, alpha: float) -> np.ndarray:
    moved = centres.copy()
    for head in range(HEADS):
        for channel in range(CHANNELS):
            mean = sum(vectors[sample, head, channel] for sample in range(len(vectors))) / len(vectors)
            moved[head, channel] -= alpha * (centres[head, channel] - mean)
    return moved


def equation_3(centres: np.ndarray, vectors: np.ndarray, labels: list[int]) -> float:
    """With means in place of the sums."""
    intra = inter = 0.0
    for i, label in enumerate(labels):
        for j in range(HEADS):
            margin = 0.1 if label == 1 else 0.05
            intra += max(loops.squared_distance(vectors[i, j], centres[j]) - margin, 0)
    for i in range(HEADS):
        for j in range(HEADS):
            if i != j:
                inter += max(0.2 - loops.squared_distance(centres[i], centres[j]), 0)
    return intra / (len(labels) * HEADS) + inter / (HEADS * (HEADS - 1))


def test_region_vectors_pool_the_standardised_averages() -> None:
    rng = np.random.default_rng(0)
    pooled, attentions = rng.normal(2, 5, size=(2, CHANNELS, 4, 5)), rng.random((2, HEADS, 4, 5))
    expected = []
    for sample, maps in zip(pooled, attentions, strict=True):
        standard = np.stack([(channel - channel.mean()) / channel.std() for channel in sample])
        expected.append(loops.attention_pool(standard, maps))
    found = region_vectors(torch.tensor(pooled).float(), torch.tensor(attentions).float())
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)


def test_region_vectors_of_a_flat_picture_are_finite() -> None:
    pooled = torch.full((1, CHANNELS, 4, 4), 0.3, requires_grad=True)
    vectors = region_vectors(pooled, torch.rand(1, HEADS, 4, 4))
    vectors.sum().backward()
    assert vectors.isfinite().all()
    assert pooled.grad is not None
    assert pooled.grad.isfinite().all()


def test_regional_independence_over_three_steps_is_equations_3_and_4() -> None:
    loss = RegionIndependenceLoss(HEADS, CHANNELS).double()
    centres = np.zeros((HEADS, CHANNELS))
    labels = [0, 1, 1, 0]
    for step, alpha in enumerate((0.05, 0.05, 0.05 * 0.9)):  # the last in the second epoch
        vectors = unit_vectors(step)
        centres = equation_4(centres, vectors, alpha)
        found = loss(torch.tensor(vectors), torch.tensor(labels, dtype=torch.float64))
        loss.after_step()
        np.testing.assert_allclose(loss.centres, centres, atol=1e-9)
        assert found.item() == pytest.approx(equation_3(centres, vectors, labels), abs=1e-8)
        if step == 1:
            loss.after_epoch()


def test_centres_move_once_a_step_however_many_batches_it_has() -> None:
    """Each batch's loss is as of a step of its own; the centres then take one step with the mean of both batches."""
    loss = RegionIndependenceLoss(HEADS, CHANNELS).double()
    loss.centres.copy_(torch.tensor(unit_vectors(2)).mean(0))
    before = loss.centres.numpy().copy()
    first, second = unit_vectors(0), unit_vectors(1)
    for vectors in (first, second):
        found = loss(torch.tensor(vectors), torch.zeros(BATCH, dtype=torch.float64))
        expected = equation_3(equation_4(before, vectors, 0.05), vectors, [0] * BATCH)
        assert found.item() == pytest.approx(expected, abs=1e-8)
    np.testing.assert_array_equal(loss.centres, before)
    loss.after_step()
    after = equation_4(before, np.concatenate([first, second]), 0.05)
    np.testing.assert_allclose(loss.centres, after, atol=1e-9)
    loss.after_step()  # nothing was gathered since
    np.testing.assert_allclose(loss.centres, after, atol=1e-9)


def test_margins_and_centres_far_apart_leave_nothing() -> None:
    """Vectors on their centres, which are further apart than the margin: both parts are zero; closer, they are not."""
    loss = RegionIndependenceLoss(2, 2).eval()
    loss.centres.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert loss(loss.centres[None].clone(), torch.zeros(1)) == 0
    shifted = loss.centres[None] + torch.tensor([math.sqrt(0.08), 0.0])
    assert loss(shifted, torch.ones(1)) == 0  # within a fake's margin of 0.1
    assert loss(shifted, torch.zeros(1)).item() == pytest.approx(0.03, abs=1e-6)  # outside a real's of 0.05


def test_the_gradient_goes_through_the_centres() -> None:
    """A numeric derivative includes what the centres do; an analytic one only where they are not detached."""
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)

    def fresh(vectors: Tensor) -> Tensor:
        loss = RegionIndependenceLoss(HEADS, CHANNELS).double()
        result: Tensor = loss(vectors, labels)
        return result

    assert torch.autograd.gradcheck(fresh, torch.tensor(unit_vectors(0), requires_grad=True))


def test_only_training_moves_the_centres_and_they_are_kept_without_gradient() -> None:
    loss = RegionIndependenceLoss(HEADS, CHANNELS)
    vectors = torch.tensor(unit_vectors(0), requires_grad=True).float()
    loss.eval()(vectors, torch.zeros(BATCH))
    loss.after_step()
    assert (loss.centres == 0).all()
    loss.train()(vectors, torch.zeros(BATCH))
    loss.after_step()
    assert (loss.centres != 0).any()
    assert not loss.centres.requires_grad


def test_centres_and_epochs_resume_from_a_checkpoint() -> None:
    straight, stopped = RegionIndependenceLoss(HEADS, CHANNELS), RegionIndependenceLoss(HEADS, CHANNELS)
    first, second = (torch.tensor(unit_vectors(seed)).float() for seed in (0, 1))
    for loss in (straight, stopped):
        loss(first, torch.zeros(BATCH))
        loss.after_step()
        loss.after_epoch()
    resumed = RegionIndependenceLoss(HEADS, CHANNELS)
    resumed.load_state_dict(stopped.state_dict())
    torch.testing.assert_close(resumed(second, torch.zeros(BATCH)), straight(second, torch.zeros(BATCH)))
    resumed.after_step()
    straight.after_step()
    assert (resumed.centres != stopped.centres).any()
    torch.testing.assert_close(resumed.centres, straight.centres)


def test_centres_are_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks with half a batch each keep the centres that one rank with all of it would."""
    vectors = torch.tensor(unit_vectors(0)).float()
    whole, half = RegionIndependenceLoss(HEADS, CHANNELS), RegionIndependenceLoss(HEADS, CHANNELS)
    whole(vectors, torch.zeros(BATCH))
    whole.after_step()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda mean: mean.add_(vectors[2:].mean(0)))
    mine = vectors[:2].clone().requires_grad_()
    half(mine, torch.zeros(2)).backward()
    half.after_step()
    torch.testing.assert_close(half.centres, whole.centres)
    assert mine.grad is not None


def test_additive_margin_pulls_each_region_to_its_own_direction() -> None:
    loss = AdditiveMarginLoss(HEADS, CHANNELS)
    vectors = unit_vectors(0)
    directions = loss.directions.detach().double().numpy()
    expected = 0.0
    for sample in vectors:
        for head, vector in enumerate(sample):
            cosines = [float(vector @ direction) / math.hypot(*direction) for direction in directions]
            cosines[head] -= 0.35
            powers = [math.exp(30 * cosine) for cosine in cosines]
            expected -= math.log(powers[head] / sum(powers))
    found = loss(torch.tensor(vectors).float(), torch.zeros(BATCH))
    assert found.item() == pytest.approx(expected / (BATCH * HEADS), rel=1e-5)


@pytest.mark.parametrize("loss", [RegionIndependenceLoss(HEADS, CHANNELS), AdditiveMarginLoss(HEADS, CHANNELS)])
def test_dead_heads_give_a_finite_loss_and_gradient(loss: nn.Module) -> None:
    vectors = torch.zeros(BATCH, HEADS, CHANNELS, requires_grad=True)
    value = loss(vectors, torch.zeros(BATCH))
    value.backward()
    assert value.isfinite()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def released_form(centres: np.ndarray, vectors: np.ndarray, labels: list[int]) -> float:
    intra = [
        max(math.sqrt(loops.squared_distance(vectors[i, j], centres[j])) - (0.02 if label == 1 else 0.01), 0)
        for i, label in enumerate(labels)
        for j in range(HEADS)
    ]
    inter = 0.0
    for j in range(HEADS):
        for k in range(j + 1, HEADS):
            inter += max(1 - math.sqrt(loops.squared_distance(centres[j], centres[k])), 0)
    return sum(intra) / len(intra) + inter


def test_the_released_form_is_of_distances_and_a_sum_over_pairs() -> None:
    loss = RegionIndependenceLoss(HEADS, CHANNELS, "release").train()
    centres, vectors, labels = unit_vectors(5)[0] * 0.4, unit_vectors(6), [0, 1, 1, 0]
    loss.centres.copy_(torch.tensor(centres))
    found = loss(torch.tensor(vectors).float(), torch.tensor(labels))
    assert float(found) == pytest.approx(released_form(equation_4(centres, vectors, 0.05), vectors, labels), rel=1e-5)


def test_the_released_form_of_equal_centres_has_a_finite_gradient() -> None:
    vectors = torch.zeros(BATCH, HEADS, CHANNELS, requires_grad=True)
    RegionIndependenceLoss(HEADS, CHANNELS, "release").train()(vectors, torch.tensor([0, 1, 0, 1])).backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_regions_repel_each_other_as_the_docstring_says() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = 3 * torch.randn(1, 4, 32, generator=generator)
    scattered = torch.randn(48, 4, 32, generator=generator) + directions
    labels = torch.randint(2, (48,), generator=generator)

    def repulsion(form: Literal["paper", "release"]) -> float:
        vectors = nn.functional.normalize(scattered, dim=-1).requires_grad_()
        loss = RegionIndependenceLoss(4, 32, form).train()
        (both,) = torch.autograd.grad(loss(vectors, labels), vectors)
        loss = RegionIndependenceLoss(4, 32, form).train()
        moved = loss.centres + 0.05 * (vectors.mean(0) - loss.centres)
        margins = {"paper": 0.05 + 0.05 * labels, "release": 0.01 + 0.01 * labels}[form][:, None]
        distances = torch.linalg.vector_norm(vectors - moved, dim=-1)
        attraction = nn.functional.relu((distances.square() if form == "paper" else distances) - margins).mean()
        (first,) = torch.autograd.grad(attraction, vectors)
        return float((both - first).norm() / first.norm())

    assert repulsion("paper") == pytest.approx(6e-3, rel=0.1)
    assert repulsion("release") == pytest.approx(0.5, rel=0.1)
