import numpy as np
import pytest
import torch

from facemill.detectors.forgery.mat.pooling import bilinear_attention_pool, weighted_mean
from tests.detectors.forgery.mat import loops


@pytest.mark.parametrize("grid", [(3, 4), (7, 9), (10, 11)], ids=["enlarged", "equal", "shrunk"])
def test_attention_pool_is_equation_2(grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    features, attentions = rng.normal(size=(2, 5, 7, 9)), rng.random((2, 3, *grid))
    expected = np.stack([loops.attention_pool(*pair) for pair in zip(features, attentions, strict=True)])
    pooled = bilinear_attention_pool(torch.tensor(features).float(), torch.tensor(attentions).float())
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_a_dead_head_pools_to_zero_and_has_a_finite_gradient() -> None:
    features = torch.randn(2, 5, 6, 6, requires_grad=True)
    attentions = torch.rand(2, 3, 4, 4)
    attentions[:, 1] = 0
    attentions.requires_grad_()
    pooled = bilinear_attention_pool(features, attentions)
    pooled.square().mul(torch.arange(5)).sum().backward()
    assert (pooled[:, 1] == 0).all()
    torch.testing.assert_close(pooled[:, [0, 2]].norm(dim=-1), torch.ones(2, 2))
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert attentions.grad is not None
    assert attentions.grad.isfinite().all()


def test_weighted_mean_is_the_mean_weighted_by_the_resized_map() -> None:
    rng = np.random.default_rng(1)
    features, attention = rng.normal(size=(2, 4, 3, 5)), rng.random((2, 1, 6, 7))
    expected = np.zeros((2, 4))
    for sample in range(2):
        weights = loops.bilinear(attention[sample, 0], 3, 5)
        for channel in range(4):
            expected[sample, channel] = (features[sample, channel] * weights).sum() / weights.sum()
    found = weighted_mean(torch.tensor(features).float(), torch.tensor(attention).float())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weighted_mean_without_weights_is_the_plain_mean() -> None:
    features = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(weighted_mean(features, torch.zeros(2, 1, 6, 6)), features.mean((2, 3)))


def test_maps_in_bfloat16_are_pooled_in_float32() -> None:
    features, attentions = torch.randn(1, 8, 20, 20) + 0.5, torch.rand(1, 2, 10, 10)
    pooled = bilinear_attention_pool(features.bfloat16(), attentions.bfloat16())
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled.float(), bilinear_attention_pool(features, attentions), atol=0.02, rtol=0)
    mean = weighted_mean(features.bfloat16(), attentions[:, :1].bfloat16())
    torch.testing.assert_close(mean.float(), weighted_mean(features, attentions[:, :1]), atol=0.02, rtol=0)
