"""The parts of Local Relation Learning against loops in float64 written from the paper."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from facemill.detectors.forgery.lrl.modules import RFAM, MaskDecoder, MultiScale, patch_similarity


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_rfam_against_equations_4_to_6():
    channels, side = 3, 4
    module = RFAM(channels).eval()
    rng = np.random.default_rng(0)
    state = {key: rng.random(value.shape) - 0.3 for key, value in module.state_dict().items() if value.ndim}
    state["mix.1.running_var"] += 0.5
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
    u1, u2 = rng.normal(size=(2, channels, side, side))
    attended = module.double()(torch.from_numpy(u1)[None], torch.from_numpy(u2)[None])

    u = np.concatenate([u1, u2])
    v = np.zeros_like(u)
    for c in range(2 * channels):
        mixed = sum(state["mix.0.weight"][c, d, 0, 0] * u[d] for d in range(2 * channels))
        spread = np.sqrt(state["mix.1.running_var"][c] + 1e-5)
        normal = (mixed - state["mix.1.running_mean"][c]) / spread
        v[c] = np.maximum(0, normal * state["mix.1.weight"][c] + state["mix.1.bias"][c])
    for stream, (u_own, out) in enumerate(zip((u1, u2), attended, strict=True)):
        for y in range(side):
            for x in range(side):
                total = state["attend.bias"][stream]
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= y + dy < side and 0 <= x + dx < side:
                            kernel = state["attend.weight"][stream, :, dy + 1, dx + 1]
                            total += kernel @ v[:, y + dy, x + dx]
                np.testing.assert_allclose(out[0, :, y, x].detach(), sigmoid(total) * u_own[:, y, x], rtol=1e-5)


@pytest.mark.parametrize(("height", "width", "k"), [(10, 10, 5), (9, 9, 5), (5, 7, 3), (3, 3, 2)])
def test_patch_similarity_against_equation_7(height, width, k):
    features = np.random.default_rng(height).normal(0.2, 1, (2, 3, height, width))
    similarity = patch_similarity(torch.from_numpy(features), k)
    assert similarity.dtype == torch.float32
    h, w = math.ceil(height / k), math.ceil(width / k)
    for image, found in zip(features, similarity, strict=True):
        patches = []
        for i in range(k * k):
            cells = {}
            for c in range(3):
                for y in range(h):
                    for x in range(w):
                        row, column = i // k * h + y, i % k * w + x
                        if row < height and column < width:
                            cells[c, y, x] = image[c, row, column]
            patches.append(cells)
        for i, a in enumerate(patches):
            for j, b in enumerate(patches):
                product = sum(a[place] * b[place] for place in a.keys() & b.keys())
                norms = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
                assert found[i, j].item() == pytest.approx((product / norms + 1) / 2, abs=1e-5)


def test_dead_features_give_finite_similarities_and_gradients():
    features = torch.zeros(1, 4, 4, 4, requires_grad=True)
    similarity = patch_similarity(features, 2)
    similarity.square().sum().backward()
    assert (similarity == 0.5).all()
    assert torch.isfinite(features.grad).all()


def test_maps_of_all_scales_keep_their_order_and_the_last_one_s_size():
    low, mid, high = torch.full((1, 2, 8, 8), 1.0), torch.full((1, 3, 4, 4), 2.0), torch.randn(1, 4, 2, 2)
    features = MultiScale()([low, mid, high])
    assert (features[:, :2] == 1).all()
    assert (features[:, 2:5] == 2).all()
    assert torch.equal(features[:, 5:], high)


def test_the_decoder_s_layers():
    convolutions = [layer for layer in MaskDecoder(2008) if isinstance(layer, nn.Conv2d)]
    widths = [(layer.in_channels, layer.out_channels) for layer in convolutions]
    assert widths == [
        (2008, 256), (256, 256), (256, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64), (64, 1)
    ]  # fmt: skip


def test_maps_of_other_scales_are_resized_bilinearly():
    """A cell of half the side lies between four cells, and is their mean."""
    large, small = torch.arange(16.0).view(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)
    assert MultiScale()([large, small])[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]


@torch.no_grad()
def test_the_decoder_normalises_every_picture_s_maps_by_themselves():
    decoder = MaskDecoder(6).eval()
    maps: list[torch.Tensor] = []
    for layer in decoder:
        if isinstance(layer, torch.nn.ReLU):
            layer.register_forward_pre_hook(lambda _, given: maps.append(given[0].clone()))
    decoder(torch.rand(2, 6, 3, 3) * torch.tensor([1.0, 50.0])[:, None, None, None])
    assert len(maps) == 8
    for normalised in maps:
        assert normalised.mean((2, 3)).abs().max() < 1e-4
        torch.testing.assert_close(
            normalised.std((2, 3), correction=0), torch.ones(normalised.shape[:2]), rtol=0, atol=0.1
        )
