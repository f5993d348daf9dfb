"""Self-information against slow loops written from Eqs. 1 to 3."""

import math
from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from facemill.detectors.forgery.sia.information import inter_information, intra_information, self_information


def slow_intra(features: Tensor, h: float = 1.0) -> Tensor:
    """Eq. 1, value by value: R_f is 3x3 without its centre, and zero lies beyond the border."""
    f = features.double().tolist()
    H, W = features.shape[2:]

    def neighbours(b: int, k: int, i: int, j: int) -> Iterator[float]:
        for m, n in product((-1, 0, 1), repeat=2):
            if (m, n) != (0, 0):
                yield f[b][k][i + m][j + n] if 0 <= i + m < H and 0 <= j + n < W else 0.0

    return surprisal(features, h, neighbours)


def slow_inter(features: Tensor, h: float = 1.0) -> Tensor:
    """Eq. 2, value by value: R_c is the next five channels, and the first follows the last."""
    f = features.double().tolist()
    C = features.shape[1]
    return surprisal(features, h, lambda b, k, i, j: (f[b][(k + s) % C][i][j] for s in (1, 2, 3, 4, 5)))


def surprisal(features: Tensor, h: float, neighbours: Callable[[int, int, int, int], Iterator[float]]) -> Tensor:
    information = torch.empty(features.shape, dtype=torch.float64)
    for place in product(*map(range, features.shape)):
        value = float(features[place])
        likelihood = sum(math.exp(-((value - other) ** 2) / (2 * h * h)) for other in neighbours(*place))
        information[place] = -math.log(likelihood)
    return information


def slow_information(features: Tensor, inter_weight: float = 0.5, h: float = 1.0) -> Tensor:
    return slow_intra(features, h) + inter_weight * slow_inter(features, h)


def noise(*shape: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2, 7, 4, 5), (1, 6, 1, 3), (1, 9, 2, 2)])
@pytest.mark.parametrize("h", [1.0, 0.5, 3.0])
def test_both_terms_are_those_of_the_paper(shape: tuple[int, ...], h: float) -> None:
    features = noise(*shape)
    torch.testing.assert_close(intra_information(features, h).double(), slow_intra(features, h), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inter_information(features, h).double(), slow_inter(features, h), rtol=1e-5, atol=1e-5)


def test_a_border_has_zeros_beyond_it() -> None:
    information = intra_information(torch.full((1, 6, 3, 3), 2.0))[0, 0]
    far = math.exp(-2.0)  # 2 from the zeros: exp(-2^2 / 2)
    expected = [[-math.log(same + (8 - same) * far) for same in row] for row in ([3, 5, 3], [5, 8, 5], [3, 5, 3])]
    torch.testing.assert_close(information, torch.tensor(expected))


def test_the_first_channels_follow_the_last() -> None:
    """Only channel 1 differs: it is among the next five of channels 4 to 7 and 0, but not of 2 and 3."""
    features = torch.zeros(1, 8, 1, 1)
    features[:, 1] = 3.0
    information = inter_information(features)[0, :, 0, 0]
    alike, other = -math.log(5), -math.log(4 + math.exp(-4.5))
    expected = [other, -math.log(5 * math.exp(-4.5)), alike, alike, other, other, other, other]
    torch.testing.assert_close(information, torch.tensor(expected))


@pytest.mark.parametrize("inter_weight", [0.5, 0.0, 2.0])
def test_the_terms_are_weighed(inter_weight: float) -> None:
    features = noise(1, 7, 3, 4)
    fast = self_information(features, inter_weight=inter_weight).double()
    torch.testing.assert_close(fast, slow_information(features, inter_weight), rtol=1e-5, atol=1e-5)


def test_a_place_like_its_neighbours_has_the_least() -> None:
    inside = self_information(torch.full((1, 8, 5, 5), 0.7))[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, -math.log(8) - 0.5 * math.log(5)))


def test_strangers_have_a_finite_amount() -> None:
    """Differences whose exponential is 0 in float32, and some in float64."""
    features = noise(1, 7, 3, 4, spread=15)
    expected = slow_information(features)
    assert expected.max() > 110  # exp(-110) is 0 in float32
    torch.testing.assert_close(self_information(features).double(), expected, rtol=1e-5, atol=1e-4)
    alone = torch.zeros(1, 8, 3, 3)
    alone[0, 0, 1, 1] = 1e4
    information = self_information(alone)
    assert information[0, 0, 1, 1] == pytest.approx(5e7 - math.log(8) + 0.5 * (5e7 - math.log(5)))
    assert torch.isfinite(information).all()


def test_half_precision_is_computed_in_float32() -> None:
    features = noise(1, 7, 4, 4).bfloat16()
    information = self_information(features)
    assert information.dtype == torch.float32
    torch.testing.assert_close(information.double(), slow_information(features), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    features = noise(1, 6, 3, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(intra_information, (features,))
    assert torch.autograd.gradcheck(inter_information, (features,))


def test_the_features_are_left_as_they_were() -> None:
    features = noise(1, 7, 4, 4)
    before = features.clone()
    self_information(features)
    assert torch.equal(features, before)


def test_no_tensor_is_as_large_as_all_neighbours_together() -> None:
    features = noise(1, 32, 16, 16)
    with LargestTensor() as seen:
        self_information(features)
    assert features.numel() <= seen.largest < 1.5 * features.numel()


class LargestTensor(TorchDispatchMode):
    """Notes how many values the largest tensor that an operation gives has."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result
