import math

import numpy as np
import torch

from facemill.detectors.forgery.mat.augment import attention_guided_augment, augmentation_maps, hard_drop, soft_drop
from tests.detectors.forgery.mat import loops

SIDE = 40


def blurred_by_loops(image: np.ndarray) -> np.ndarray:
    """An 11x11 Gaussian of sigma 7 over [h, w], edges reflected."""
    kernel = np.zeros((11, 11))
    for i in range(11):
        for j in range(11):
            kernel[i, j] = math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 7**2))
    kernel /= kernel.sum()
    padded, out = np.pad(image, 5, mode="reflect"), np.zeros_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = (padded[y : y + 11, x : x + 11] * kernel).sum()
    return out


def map_by_loops(attention: np.ndarray) -> np.ndarray:
    return loops.bilinear(attention / attention.max(), SIDE, SIDE)


def random_pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 3, SIDE, SIDE)), 7 * rng.random((2, 5, 5))


def test_soft_drop_is_equation_6() -> None:
    images, attentions = random_pictures()
    expected = np.zeros_like(images)
    for sample in range(2):
        weight = map_by_loops(attentions[sample])
        for channel in range(3):
            image = images[sample, channel]
            degraded = loops.bilinear(blurred_by_loops(loops.bilinear(image, 12, 12)), SIDE, SIDE)
            expected[sample, channel] = image * (1 - weight) + degraded * weight
    maps = augmentation_maps(torch.tensor(attentions).float(), (SIDE, SIDE))
    np.testing.assert_allclose(soft_drop(torch.tensor(images).float(), maps), expected, atol=1e-5)


def test_hard_drop_is_equation_7() -> None:
    images, attentions = random_pictures()
    expected = np.zeros_like(images)
    for sample in range(2):
        weight = map_by_loops(attentions[sample])
        for y in range(SIDE):
            for x in range(SIDE):
                kept = 0 if weight[y, x] > 0.5 else 1
                expected[sample, :, y, x] = images[sample, :, y, x] * kept
    found = hard_drop(torch.tensor(images), augmentation_maps(torch.tensor(attentions), (SIDE, SIDE)))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert 0.2 < (expected == 0).mean() < 0.8


def test_a_dead_head_leaves_the_picture_alone() -> None:
    images = torch.randn(2, 3, SIDE, SIDE)
    for kind in ("soft", "hard"):
        torch.testing.assert_close(attention_guided_augment(images, torch.zeros(2, 4, 5, 5), kind), images)


def test_each_sample_draws_its_own_head() -> None:
    """Four heads look at a quarter each: what is erased says which was drawn."""
    attentions = torch.zeros(4, 2, 2)
    attentions[range(4), [0, 0, 1, 1], [0, 1, 0, 1]] = 1
    torch.manual_seed(0)
    images = torch.ones(200, 1, SIDE, SIDE)
    augmented = attention_guided_augment(images, attentions.expand(200, -1, -1, -1), "hard")
    corners = augmented[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert ((corners == 0).sum(1) == 1).all()  # one quarter a picture
    assert ((corners == 0).float().mean(0) > 0.15).all()  # every head has its turn


def test_no_gradient_goes_through_the_augmentation() -> None:
    attentions = torch.rand(1, 2, 5, 5, requires_grad=True)
    assert not attention_guided_augment(torch.randn(1, 3, SIDE, SIDE), attentions, "soft").requires_grad
