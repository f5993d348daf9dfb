"""MAT's building blocks, slow and obvious, in float64: what its tests compare with."""

import math

import numpy as np


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """[h, w] to [height, width]: each new cell's centre, in old cells, between its four neighbours."""
    h, w = image.shape
    out = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((column + 0.5) * w / width - 0.5, 0), w - 1)
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            dy, dx = y - top, x - left
            upper = image[top, left] * (1 - dx) + image[top, right] * dx
            lower = image[bottom, left] * (1 - dx) + image[bottom, right] * dx
            out[row, column] = upper * (1 - dy) + lower * dy
    return out


def attention_pool(features: np.ndarray, attentions: np.ndarray) -> np.ndarray:
    """Eq. 2 for one sample: [C, H, W] and [M, h, w] to [M, C]; zeros for a map of zeros."""
    channels, height, width = features.shape
    rows = []
    for attention in attentions:
        attention = bilinear(attention, height, width)
        row = np.zeros(channels)
        for m in range(height):
            for n in range(width):
                row += features[:, m, n] * attention[m, n]
        length = math.sqrt(sum(value**2 for value in row))
        rows.append(row / length if length > 0 else row)
    return np.stack(rows)


def squared_distance(a: np.ndarray, b: np.ndarray) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
