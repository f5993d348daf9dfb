"""Patch means and their relation against loops over pixels, in float64."""

import math

import numpy as np
import pytest
import torch

from facemill import ConfigError
from facemill.masks.patches import patch_means, similarity_target


def slow_means(mask: np.ndarray, k: int) -> np.ndarray:
    """Patches of ceil(H / k) x ceil(W / k) pixels from the top left, one after another."""
    height, width = mask.shape
    h, w = math.ceil(height / k), math.ceil(width / k)
    means = np.zeros((k, k))
    for row in range(k):
        for column in range(k):
            pixels = [
                mask[y, x]
                for y in range(row * h, min((row + 1) * h, height))
                for x in range(column * w, min((column + 1) * w, width))
            ]
            means[row, column] = sum(pixels) / len(pixels)
    return means


@pytest.mark.parametrize(
    ("height", "width", "k"), [(299, 299, 5), (20, 30, 5), (10, 11, 4), (19, 9, 5), (7, 13, 2), (6, 6, 6)]
)
def test_patch_means(height, width, k):
    masks = np.random.default_rng(height + width).random((2, 1, height, width)) > 0.7
    means = patch_means(torch.from_numpy(masks), k)
    assert means.dtype == torch.float32
    np.testing.assert_allclose(means, [slow_means(mask[0], k) for mask in masks], atol=1e-6)


def test_similarity_target():
    masks = np.random.default_rng(0).random((2, 1, 23, 24)) ** 3
    masks[1, 0, :10, :10] = 1
    target = similarity_target(torch.from_numpy(masks), 5)
    for mask, relation in zip(masks, target, strict=True):
        p = slow_means(mask[0], 5).reshape(-1)
        expected = [[1 - (p[i] - p[j]) ** 2 for j in range(25)] for i in range(25)]
        np.testing.assert_allclose(relation, expected, atol=1e-6)


def test_a_half_forged_face_has_two_kinds_of_patches():
    masks = torch.zeros(1, 1, 20, 20)
    masks[..., :10] = 1  # with k = 2: patches 0 and 2, of four
    expected = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1.0]])
    assert torch.equal(similarity_target(masks, 2)[0], expected)


def test_the_patches_of_a_real_are_all_alike():
    assert (similarity_target(torch.zeros(2, 1, 299, 299), 5) == 1).all()


@pytest.mark.parametrize("shape", [(8, 8), (20, 8), (8, 20), (4, 4)])
def test_sizes_without_k_patches_are_refused(shape):
    with pytest.raises(ConfigError, match=f"{shape[0]}x{shape[1]} cannot be divided into 5x5 patches"):
        patch_means(torch.zeros(1, 1, *shape), 5)
