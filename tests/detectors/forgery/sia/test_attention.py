"""Dual attention (Eqs. 4 to 7), aggregation (Eq. 8) and the attentions of Table 5, against slow loops."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from facemill import ConfigError
from facemill.detectors.forgery.sia.attention import Aggregation, SelfInformationAttention
from facemill.detectors.forgery.sia.baselines import GlobalSelfAttention, NonLocal, squeeze_excitation
from tests.detectors.forgery.sia.test_information import noise, slow_information


def attention(channels: int, *, spatial: bool = True, channel: bool = True, gradient: bool = False):
    torch.manual_seed(0)
    return SelfInformationAttention(
        channels, spatial=spatial, channel=channel, inter_weight=0.5, bandwidth=1.0, gradient=gradient
    )


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slow_attention(features: Tensor, weights: Tensor | None, *, spatial: bool) -> Tensor:
    """Eqs. 4 to 7, value by value; `weights` is W [C, C], or None without channel attention."""
    B, C, H, W = features.shape
    information = slow_information(features)
    out = torch.empty(B, C, H, W, dtype=torch.float64)
    for b in range(B):
        means = [sum(information[b, k].flatten().tolist()) / (H * W) for k in range(C)]
        for k in range(C):
            raised = 1.0
            if weights is not None:
                raised = sigmoid(sum(float(weights[k, other]) * means[other] for other in range(C)))
            for i in range(H):
                for j in range(W):
                    f = float(features[b, k, i, j])
                    s = sigmoid(float(information[b, k, i, j])) * f if spatial else f
                    out[b, k, i, j] = raised * s + f
    return out


@pytest.mark.parametrize(("spatial", "channel"), [(True, True), (True, False), (False, True)])
def test_attention_is_that_of_the_paper(spatial: bool, channel: bool) -> None:
    module = attention(7, spatial=spatial, channel=channel)
    features = noise(2, 7, 4, 3)
    attended, information = module(features)
    weights = module.channel_weights.weight.detach() if channel else None
    torch.testing.assert_close(attended.double(), slow_attention(features, weights, spatial=spatial))
    torch.testing.assert_close(information.double(), slow_information(features), rtol=1e-5, atol=1e-5)


def test_without_a_gradient_through_it_information_is_a_constant_factor() -> None:
    features = noise(1, 7, 4, 4).requires_grad_()
    module = attention(7)
    attended, information = module(features)
    assert not information.requires_grad
    attended.sum().backward()
    torch.testing.assert_close(features.grad, (attended / features).detach(), rtol=1e-4, atol=1e-4)


def test_with_a_gradient_through_it_the_slope_is_that_of_finite_differences() -> None:
    features, direction = noise(1, 7, 4, 4), noise(1, 7, 4, 4, seed=1)
    module = attention(7, gradient=True)
    leaf = features.clone().requires_grad_()
    module(leaf)[0].square().sum().backward()
    weights, step = module.channel_weights.weight.detach(), 1e-4

    def slow(at: Tensor) -> float:
        return float(slow_attention(at, weights, spatial=True).square().sum())

    shift = step * direction.double()
    slope = (slow(features.double() + shift) - slow(features.double() - shift)) / (2 * step)
    assert float((leaf.grad * direction).sum()) == pytest.approx(slope, rel=1e-3)


def test_bf16_features_keep_their_type_and_their_information_float32() -> None:
    features = noise(1, 8, 4, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        attended, information = attention(8)(features)
    assert attended.dtype == torch.bfloat16
    assert information.dtype == torch.float32
    exact = slow_attention(features, attention(8).channel_weights.weight.detach(), spatial=True)
    torch.testing.assert_close(attended.double(), exact, rtol=0.02, atol=0.02)


def test_aggregation_adds_the_aligned_information_of_all_earlier_attentions() -> None:
    torch.manual_seed(0)
    module = Aggregation([3, 2], 4).eval()
    first, second, features = noise(1, 3, 5, 5), noise(1, 2, 5, 5, seed=1), noise(1, 4, 5, 5, seed=2)
    expected = features.double()
    for align, information in zip(module.aligns, (first, second), strict=True):
        mixed = torch.einsum("oc,bchw->bohw", align[0].weight[:, :, 0, 0].double(), information.double())
        expected = expected + (mixed / math.sqrt(1 + 1e-5)).clamp(min=0)  # untrained: mean 0, variance 1
    torch.testing.assert_close(module(features, [first, second]).double(), expected, rtol=1e-5, atol=1e-5)


def test_aggregation_resizes_bilinearly_between_centres() -> None:
    """Four cells onto two: each lands half way between two of them."""
    module = Aggregation([1], 1).eval()
    torch.nn.init.ones_(module.aligns[0][0].weight)
    information = torch.tensor([1.0, 2.0, 4.0, 8.0]).expand(1, 1, 4, 4)
    expected = torch.tensor([1.5, 6.0]).expand(1, 1, 2, 2) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(module(torch.zeros(1, 1, 2, 2), [information]), expected)


def test_aggregation_of_nothing_changes_nothing() -> None:
    features = noise(1, 4, 5, 5)
    assert torch.equal(Aggregation([], 4)(features, []), features)


@torch.no_grad()
def test_a_non_local_block_is_that_of_its_paper() -> None:
    """Every place: out(sum_j softmax_j(query_i . key_j) value_j) + x, keys and values max-pooled by 2."""
    torch.manual_seed(0)
    module = NonLocal(4).eval()
    torch.nn.init.ones_(module.norm.weight)
    features = noise(1, 4, 5, 3)
    pooled = torch.stack(
        [features[0, :, i : i + 2, j : j + 2].amax((1, 2)) for i in range(0, 5, 2) for j in range(0, 3, 2)]
    )
    kernel = {name: getattr(module, name).weight[:, :, 0, 0] for name in ("query", "key", "value", "out")}
    bias = {name: getattr(module, name).bias for name in kernel}
    keys = [kernel["key"] @ x + bias["key"] for x in pooled]
    values = [kernel["value"] @ x + bias["value"] for x in pooled]
    expected = torch.empty_like(features)
    for i in range(5):
        for j in range(3):
            query = kernel["query"] @ features[0, :, i, j] + bias["query"]
            alike = [math.exp(float(query @ key)) for key in keys]
            mixed = sum(a / sum(alike) * value for a, value in zip(alike, values, strict=True))
            expected[0, :, i, j] = (kernel["out"] @ mixed + bias["out"]) / math.sqrt(1 + 1e-5) + features[0, :, i, j]
    torch.testing.assert_close(module(features), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("side", [5, 3], ids=["all distances", "distances up to 2"])
def test_global_self_attention_is_that_of_its_paper(side: int) -> None:
    """Every place and head: query . sum_j softmax_j(key_j) value_j, and values of columns, then rows, by distance."""
    torch.manual_seed(0)
    module = GlobalSelfAttention(4, side, heads=2, key_channels=3).eval()
    torch.nn.init.ones_(module.norm.weight)
    scale = 1 / math.sqrt(1 + 1e-5)  # of each normalisation
    features = noise(1, 4, 5, 4)
    embedded = torch.einsum("oc,chw->ohw", module.embed.weight[:, :, 0, 0], features[0]) * scale
    found = torch.zeros(4, 5, 4)

    def near(table: torch.Tensor, distance: int) -> torch.Tensor:
        return table[distance + side - 1] if abs(distance) < side else torch.zeros(3)

    for head in range(2):
        query, key = embedded[3 * head :][:3], embedded[6 + 3 * head :][:3]
        value = embedded[12 + 2 * head :][:2]
        weights = key.exp() / key.exp().sum((1, 2), keepdim=True)
        mixed = torch.zeros_like(value)
        for i, j in product(range(5), range(4)):
            for other in range(5):
                mixed[:, i, j] += query[:, i, j] @ near(module.columns, other - i) * value[:, other, j]
        mixed *= scale
        for i, j in product(range(5), range(4)):
            place = found[2 * head :][:2, i, j]
            for channel in range(3):
                place += query[channel, i, j] * (weights[channel] * value).sum((1, 2))
            for other in range(4):
                place += query[:, i, j] @ near(module.rows, other - j) * mixed[:, i, other]
    expected = torch.einsum("oc,chw->ohw", module.out.weight[:, :, 0, 0], found) * scale + features[0]
    torch.testing.assert_close(module(features)[0], expected, rtol=1e-4, atol=1e-5)


def test_channels_must_be_divisible_among_heads() -> None:
    with pytest.raises(ConfigError, match="8 heads cannot divide 12 channels"):
        GlobalSelfAttention(12, 5)


@pytest.mark.parametrize("module", [NonLocal(8), GlobalSelfAttention(8, 7)], ids=["non-local", "global"])
def test_what_is_added_to_features_is_nothing_at_first(module: torch.nn.Module) -> None:
    features = noise(2, 8, 7, 7)
    assert torch.equal(module(features), features)


def test_squeeze_excitation_is_that_of_its_paper() -> None:
    torch.manual_seed(0)
    module = squeeze_excitation(32)
    features = noise(2, 32, 3, 3)
    squeeze, excite = (layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d))
    assert squeeze.weight.shape[:2] == (2, 32)  # reduced by 16
    hidden = (features.mean((2, 3)) @ squeeze.weight[:, :, 0, 0].T + squeeze.bias).clamp(min=0)
    gates = torch.sigmoid(hidden @ excite.weight[:, :, 0, 0].T + excite.bias)
    torch.testing.assert_close(module(features), features * gates[:, :, None, None])
