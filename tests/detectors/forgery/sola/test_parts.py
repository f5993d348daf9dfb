"""SOLA's modules against slow loops in float64, written from the paper."""

import numpy as np
import pytest
import torch

from facemill import ConfigError
from facemill.detectors.forgery.sola.anomaly import AnomalyPredictor, LocalAnomalies
from facemill.detectors.forgery.sola.enhancement import LocalEnhancement
from facemill.detectors.forgery.sola.noise import NoiseFilters, srm_kernels
from facemill.detectors.forgery.sola.trunk import DualChannelAttention, FusedStage


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def test_srm_kernels_predict_the_pixel_and_take_it_away():
    kernels = srm_kernels()
    assert kernels[:, 2, 2].tolist() == [-1, -1, -1]
    np.testing.assert_allclose(kernels.sum((1, 2)), 0, atol=1e-6)  # so the rest sums to 1
    assert [int((kernel != 0).sum()) for kernel in kernels] == [9, 25, 3]
    assert kernels[2, 2].tolist() == [0, 0.5, -1, 0.5, 0]


def test_noise_is_the_filters_response_over_all_colours():
    filters = NoiseFilters("asrm")
    with torch.no_grad():
        filters.weight.normal_()
    images = torch.rand(2, 3, 6, 7)
    x, w, noise = array(images), array(filters.weight), array(filters(images))
    for b in range(2):
        for o in range(3):
            for i in range(6):
                for j in range(7):
                    total = 0.0
                    for c in range(3):
                        for u in range(5):
                            for v in range(5):
                                y, z = i + u - 2, j + v - 2
                                if 0 <= y < 6 and 0 <= z < 7:
                                    total += w[o, c, u, v] * x[b, c, y, z]
                    assert noise[b, o, i, j] == pytest.approx(total, abs=1e-5)


def test_even_pictures_have_no_noise_and_bf16_does_not_drown_the_rest():
    filters = NoiseFilters("srm")
    even = filters(torch.full((1, 3, 12, 12), 0.7))
    assert even[:, :, 2:-2, 2:-2].abs().max() < 1e-5
    images = 0.7 + torch.randint(-2, 3, (1, 3, 12, 12)) / 255
    with torch.autocast("cpu", torch.bfloat16):
        mixed = filters(images)
    assert torch.equal(mixed, filters(images))


def constrained(weight: np.ndarray) -> np.ndarray:
    """Eq. 4, slice by slice."""
    result = weight.copy()
    for o in range(3):
        for c in range(3):
            total = sum(weight[o, c, i, j] for i in range(5) for j in range(5) if (i, j) != (2, 2))
            for i in range(5):
                for j in range(5):
                    result[o, c, i, j] = -1 if (i, j) == (2, 2) else weight[o, c, i, j] / total
    return result


def test_the_constraint_after_an_optimiser_step():
    filters = NoiseFilters("asrm")
    optimiser = torch.optim.Adam(filters.parameters(), lr=1e-2)
    filters(torch.rand(2, 3, 16, 16)).square().mean().backward()
    optimiser.step()
    moved = array(filters.weight)
    assert np.abs(moved[:, :, 2, 2] + 1).min() > 1e-3  # the step broke it
    filters.constrain()
    np.testing.assert_allclose(array(filters.weight), constrained(moved), atol=1e-6)
    assert filters.weight.requires_grad


def test_the_constraint_holds_where_nothing_can_be_scaled():
    filters = NoiseFilters("asrm")
    with torch.no_grad():
        filters.weight.zero_()
    filters.constrain()
    weight = array(filters.weight)
    assert (weight[:, :, 2, 2] == -1).all()
    np.testing.assert_allclose(weight.sum((2, 3)), 0, atol=1e-6)


def test_fixed_filters_are_no_parameters_but_are_saved():
    filters = NoiseFilters("srm")
    assert not list(filters.parameters())
    assert "weight" in filters.state_dict()


def channel_attention(x: np.ndarray, attention: torch.nn.Module) -> np.ndarray:
    """CBAM's on a map [C, h, w]."""
    squeeze, excite = array(attention.fc1.weight)[:, :, 0, 0], array(attention.fc2.weight)[:, :, 0, 0]
    result = np.zeros_like(x)
    average = [excite @ np.maximum(squeeze @ pooled, 0) for pooled in (x.mean((1, 2)), x.max((1, 2)))]
    for c in range(len(x)):
        result[c] = x[c] * sigmoid(average[0][c] + average[1][c])
    return result


def test_dual_channel_attention_agrees_with_loops():
    fuse = DualChannelAttention(32)
    colour, noise = torch.randn(2, 32, 5, 4), torch.randn(2, 32, 5, 4)
    assert fuse.colour.fc1.weight.shape[0] == 2  # r = 16
    fused = array(fuse(colour, noise))
    for b in range(2):
        added = channel_attention(array(colour)[b], fuse.colour) + channel_attention(array(noise)[b], fuse.noise)
        np.testing.assert_allclose(fused[b], channel_attention(added, fuse.fused), atol=1e-5)


def enhanced(x: np.ndarray, lem: LocalEnhancement) -> np.ndarray:
    """Eqs. 5 and 6 patch by patch and cell by cell, on a map [C, h, w]."""

    def embed(conv: torch.nn.Conv2d, vector: np.ndarray) -> np.ndarray:
        return array(conv.weight)[:, :, 0, 0] @ vector + array(conv.bias)

    result = x.copy()
    rows, columns = x.shape[1] // lem.grid, x.shape[2] // lem.grid
    for top in range(0, x.shape[1], rows):
        for left in range(0, x.shape[2], columns):
            cells = [(top + i, left + j) for i in range(rows) for j in range(columns)]
            for i, j in cells:
                theta = embed(lem.theta, x[:, i, j])
                weights = np.exp([theta @ embed(lem.f, x[:, k, m]) for k, m in cells])
                weights /= weights.sum()
                mixed = sum(w * embed(lem.g, x[:, k, m]) for w, (k, m) in zip(weights, cells, strict=True))
                result[:, i, j] += lem.scale.item() * mixed
    return result


@pytest.mark.parametrize(("grid", "height", "width"), [(4, 12, 8), (4, 4, 4), (1, 3, 5)])
def test_local_enhancement_agrees_with_loops(grid, height, width):
    lem = LocalEnhancement(16, grid)
    x = torch.randn(2, 16, height, width)
    assert torch.equal(lem(x), x)  # lambda starts at 0
    with torch.no_grad():
        lem.scale.fill_(0.7)
    ours = array(lem(x))
    for b in range(2):
        np.testing.assert_allclose(ours[b], enhanced(array(x)[b], lem), atol=1e-5)


def test_local_enhancement_refuses_uneven_patches():
    with pytest.raises(ConfigError, match="multiples of 32 pixels"):
        LocalEnhancement(8, 4)(torch.zeros(1, 8, 8, 6))


def predicted(x: np.ndarray, predictor: AnomalyPredictor, up: int, left: int) -> np.ndarray:
    """Log-odds of Eqs. 7 and 8 cell by cell: x [C, h, w] -> [maps, h, w]."""
    weight, bias = array(predictor.conv.weight), array(predictor.conv.bias)
    weight = weight.reshape(*weight.shape[:2], 2)  # the neighbour's, the cell's own
    result = np.zeros((len(weight), *x.shape[1:]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            neighbour = x[:, max(i - up, 0), max(j - left, 0)]
            result[:, i, j] = weight[:, :, 0] @ neighbour + weight[:, :, 1] @ x[:, i, j] + bias
    return result


def test_both_orders_agree_with_loops():
    anomalies = LocalAnomalies(8)
    features = torch.randn(2, 8, 6, 5)
    first, second = anomalies(features)
    assert first.shape == (2, 4, 64, 6, 5)
    assert second.shape == (2, 4, 6, 5)
    for b in range(2):
        for k, (up, left) in enumerate([(1, 0), (2, 0), (0, 1), (0, 2)]):
            maps = predicted(array(features)[b], anomalies.first_order[k], up, left)
            np.testing.assert_allclose(array(first)[b, k], maps, atol=1e-5)
            again = predicted(sigmoid(maps), anomalies.second_order[k], up, left)
            np.testing.assert_allclose(array(second)[b, k], again[0], atol=1e-5)


def test_srm_kernels_are_those_of_the_paper_s_figure_3():
    """KB, KV and the horizontal second difference of the spatial rich model, value by value."""
    kb = [[0, 0, 0, 0, 0], [0, -1, 2, -1, 0], [0, 2, -4, 2, 0], [0, -1, 2, -1, 0], [0, 0, 0, 0, 0]]
    kv = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    horizontal = [[0] * 5, [0] * 5, [0, 1, -2, 1, 0], [0] * 5, [0] * 5]
    golden = np.stack([np.array(kb) / 4, np.array(kv) / 12, np.array(horizontal) / 2])
    np.testing.assert_allclose(srm_kernels().numpy(), golden, rtol=1e-6)


def test_a_stage_enhances_the_fused_map_and_leaves_the_noise_alone():
    """Fig. 2: fusion, then enhancement, and the noise stream goes on by itself."""
    stage = FusedStage(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.Conv2d(3, 16, 3, padding=1), 16, 2)
    torch.nn.init.constant_(stage.enhancement.scale, 0.7)
    colour, noise = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    own = stage.noise(noise)
    out, noise_out = stage(colour, noise)
    torch.testing.assert_close(noise_out, own)
    torch.testing.assert_close(out, stage.enhancement(stage.fusion(stage.colour(colour), own)))
    assert not torch.allclose(out, stage.fusion(stage.enhancement(stage.colour(colour)), own), atol=1e-3)
