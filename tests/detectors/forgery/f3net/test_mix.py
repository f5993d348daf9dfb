"""MixBlock against loops in float64."""

import numpy as np
import torch
from torch import Tensor, nn

from facemill.detectors.forgery.f3net.mix import MixBlock


def block() -> MixBlock:
    torch.manual_seed(0)
    mix = MixBlock(3)
    with torch.no_grad():
        mix.gates.copy_(torch.tensor([0.7, -0.4]))
    return mix


def maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 3, 4, 5, generator=generator)


def embedded(convolution: nn.Module, x: Tensor) -> np.ndarray:
    weight, bias = (value.detach().double().numpy() for value in convolution.parameters())
    return np.einsum("oc,bchw->bohw", weight[:, :, 0, 0], x.double().numpy()) + bias[:, None, None]


def attention_of(mix: MixBlock, first: Tensor, second: Tensor) -> np.ndarray:
    queries = [embedded(mix.queries[i], x) for i, x in enumerate((first, second))]
    keys = [embedded(mix.keys[i], x) for i, x in enumerate((first, second))]
    batch, channels, height, width = first.shape
    attention = np.zeros((batch, channels, height, height))
    for b in range(batch):
        for c in range(channels):
            for i in range(height):
                energies = []
                for j in range(height):
                    total = 0.0
                    for stream in range(2):
                        for x in range(width):
                            total += queries[stream][b, c, i, x] * keys[stream][b, c, j, x]
                    energies.append(total)
                shares = np.exp(np.array(energies) - max(energies))
                attention[b, c, i] = shares / shares.sum()
    return attention


def test_each_stream_gets_the_rows_of_the_other_that_are_alike() -> None:
    mix, (first, second) = block(), maps()
    attention = attention_of(mix, first, second)
    found = [x.detach().numpy() for x in mix(first, second)]
    for own, other, gate, result in ((first, second, 0.7, found[0]), (second, first, -0.4, found[1])):
        expected = own.double().numpy().copy()
        for i in range(4):
            for j in range(4):
                expected[:, :, i] += gate * attention[:, :, i, j, None] * other.double().numpy()[:, :, j]
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_at_first_nothing_is_mixed() -> None:
    first, second = maps()
    mixed = MixBlock(3)(first, second)
    assert torch.equal(mixed[0], first)
    assert torch.equal(mixed[1], second)


def test_large_values_stay_finite_in_bf16() -> None:
    first, second = (100 * x for x in maps())
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.isfinite(x).all() for x in block()(first, second))
