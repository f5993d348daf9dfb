import math

import numpy as np
import pytest
import torch
from torch import nn

from facemill.detectors.forgery.mat.texture import TextureEnhancement, texture_residual


def residual_by_loops(image: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 1 of one channel: each cell of D averages the patch it covers; T takes away the cell it lies in."""
    height, width = image.shape
    pooled, residual = np.zeros((rows, columns)), np.zeros_like(image)
    for i in range(rows):
        for j in range(columns):
            top, bottom = i * height // rows, math.ceil((i + 1) * height / rows)
            left, right = j * width // columns, math.ceil((j + 1) * width / columns)
            pooled[i, j] = image[top:bottom, left:right].mean()
    for y in range(height):
        for x in range(width):
            residual[y, x] = image[y, x] - pooled[y * rows // height, x * columns // width]
    return residual, pooled


@pytest.mark.parametrize("grid", [(4, 3), (3, 4), (8, 12)], ids=["divides", "does not divide", "same size"])
def test_residual_is_equation_1(grid: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 8, 12))
    residual, pooled = texture_residual(torch.tensor(features), grid)
    for sample in range(2):
        for channel in range(3):
            expected = residual_by_loops(features[sample, channel], *grid)
            np.testing.assert_allclose(residual[sample, channel], expected[0], atol=1e-12)
            np.testing.assert_allclose(pooled[sample, channel], expected[1], atol=1e-12)


def test_a_map_without_texture_has_no_residual() -> None:
    residual, _ = texture_residual(torch.full((1, 2, 95, 95), 3.0), (24, 24))
    torch.testing.assert_close(residual, torch.zeros_like(residual))


def test_enhancement_is_dense_and_keeps_the_residual() -> None:
    block = TextureEnhancement(32).eval()
    features = torch.randn(2, 32, 12, 12)
    enhanced, pooled = block(features, torch.zeros(2, 4, 3, 3))
    assert block.out_channels == enhanced.shape[1] == 128
    assert pooled.shape == (2, 32, 3, 3)
    torch.testing.assert_close(enhanced[:, :32], texture_residual(features, (3, 3))[0])
    kernels = [tuple(module.weight.shape) for module in block.modules() if isinstance(module, nn.Conv2d)]
    assert kernels == [(32, 32, 3, 3), (32, 64, 3, 3), (32, 96, 3, 3)]
