"""RECCE's decoder, graph reasoning and guided attention, against loops in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facemill.detectors.forgery.recce.decoder import Decoder
from facemill.detectors.forgery.recce.modules import GraphReasoning, GuidedAttention


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    """A 1x1 convolution of one cell [C]."""
    return layer.weight.detach().double().numpy()[:, :, 0, 0] @ x


def embedded(layers: nn.Sequential, x: np.ndarray) -> np.ndarray:
    return linear(layers[2], np.maximum(linear(layers[0], x), 0))


def test_a_cell_gathers_the_decoder_s_cells_of_its_place() -> None:
    reasoning = GraphReasoning(5, (4, 3), dropout=0.2).eval()
    features, maps = random(2, 5, 2, 3), [random(2, 4, 4, 6), random(2, 3, 8, 12)]
    found = reasoning(features, maps).detach().numpy()
    assert found.shape == (2, 5, 2, 3)
    cells, others = features.double().numpy(), [values.double().numpy() for values in maps]
    for b in range(2):
        for y in range(2):
            for x in range(3):
                cell = cells[b, :, y, x]
                own = embedded(reasoning.embed, cell)
                gathered = []
                for i, ratio in enumerate((2, 4)):
                    vertices, scores = [], []
                    for dy in range(ratio):
                        for dx in range(ratio):
                            vertex = embedded(
                                reasoning.embed_others[i], others[i][b, :, ratio * y + dy, ratio * x + dx]
                            )
                            score = linear(reasoning.scores[i], own) + linear(reasoning.scores_others[i], vertex)
                            vertices.append(vertex)
                            scores.append(max(float(score[0]), 0.0))
                    shares = np.exp(scores) / np.exp(scores).sum()
                    total = sum(share * vertex for share, vertex in zip(shares, vertices, strict=True))
                    gathered.append(total * (1 - sigmoid(linear(reasoning.gates[i], cell))))
                joint = sigmoid(np.concatenate([*gathered, own]))
                expected = linear(reasoning.project[2], np.maximum(linear(reasoning.project[0], joint), 0))
                np.testing.assert_allclose(found[b, :, y, x], expected, atol=1e-5)


def test_shares_of_the_neighbours_depend_on_cell_and_neighbour() -> None:
    """With large scores, the cell gathers the one vertex that has the largest."""
    reasoning = GraphReasoning(2, (1,), dropout=0.0)
    seen: list[Tensor] = []
    reasoning.project.register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
    values = torch.zeros(1, 1, 2, 2)
    values[0, 0, 1, 0] = 1.0
    with torch.no_grad():
        reasoning.gates[0].weight.zero_()
        vertex = reasoning.embed_others[0](values)[0, :, 1, 0]
        reasoning.scores_others[0].weight.copy_(1e4 * vertex[None, :, None, None])
        reasoning(torch.ones(1, 2, 1, 1), [values])
    torch.testing.assert_close(seen[0][0, :256, 0, 0], torch.sigmoid(vertex / 2))  # the gate is a half


def test_features_are_transformed_where_the_reconstruction_errs() -> None:
    attention = GuidedAttention(4, dropout=0.2).eval()
    with torch.no_grad():
        attention.transform[1].running_mean.normal_()
        attention.transform[1].running_var.uniform_(0.5, 2)
    difference, features = random(2, 3, 7, 9).abs(), random(2, 4, 4, 5)
    attended, weights = (x.detach().numpy() for x in attention(difference, features))
    source = difference.double().numpy()
    resized = np.zeros((2, 3, 4, 5))
    for y in range(4):
        for x in range(5):
            top, left = y * 6 / 3, x * 8 / 4  # corners on corners
            assert top == int(top)
            assert left == int(left)
            resized[:, :, y, x] = source[:, :, int(top), int(left)]
    first, second = (attention.gate[i].weight.detach().double().numpy() for i in (0, 2))
    padded = np.pad(resized, ((0, 0), (0, 0), (1, 1), (1, 1)))
    norm = attention.transform[1]
    mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    for b in range(2):
        for y in range(4):
            for x in range(5):
                inner = np.maximum([(first[o] * padded[b, :, y : y + 3, x : x + 3]).sum() for o in range(3)], 0)
                weight = sigmoid(second[0, :, 0, 0] @ inner)
                assert weights[b, 0, y, x] == pytest.approx(weight, abs=1e-5)
                cell = features[b, :, y, x].double().numpy()
                h = np.maximum((linear(attention.transform[0], cell) - mean) / np.sqrt(variance + 1e-5), 0)
                np.testing.assert_allclose(attended[b, :, y, x], weight * h + cell, atol=1e-5)


def test_the_decoder_doubles_the_map_three_times() -> None:
    decoder = Decoder(728).eval()
    with torch.no_grad():
        first, second, image = decoder(random(1, 728, 3, 3))
    assert (first.shape, second.shape, image.shape) == ((1, 256, 6, 6), (1, 128, 12, 12), (1, 3, 24, 24))
    assert image.abs().max() < 1


def test_the_decoder_has_the_release_s_layers() -> None:
    def separable(before: int, after: int) -> int:
        return 9 * before + before * after

    def normalised(before: int, after: int) -> int:
        return separable(before, after) + 2 * after

    blocks = 3 * (normalised(256, 256) + normalised(128, 128))
    expected = normalised(728, 256) + normalised(256, 128) + normalised(128, 64) + blocks + 3 * 64
    with torch.device("meta"):
        assert sum(weight.numel() for weight in Decoder(728).parameters()) == expected
