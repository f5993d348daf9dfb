"""Frequency input of Local Relation Learning: an image without its low frequencies (Eqs. 1 to 3).

Computed in float32, even under autocast: bf16 would round away the weak traces that the filter extracts.
"""

import math

import torch
from torch import Tensor, nn

from facemill.detectors.forgery.precision import without_autocast

__all__ = ["DCTHighPass", "dct_rows", "low_frequencies"]


def dct_rows(count: int, size: int) -> Tensor:
    """First rows of the orthonormal DCT-II matrix C of that size: C @ x transforms the columns of x.

    Returns:
        float32 [count, size], computed in float64.
    """
    frequencies = torch.arange(count, dtype=torch.float64)[:, None]
    positions = torch.arange(size, dtype=torch.float64)[None, :] + 0.5
    rows = torch.cos(math.pi / size * frequencies * positions) * math.sqrt(2 / size)
    scale = torch.where(frequencies == 0, math.sqrt(0.5), 1.0)
    return (rows * scale).float()


def low_frequencies(height: int, width: int, alpha: float) -> Tensor:
    """Triangle of coefficients that the filter removes: row / height + column / width < alpha.

    Returns:
        float32 [ceil(alpha * height), ceil(alpha * width)], 1 in the triangle; the rest of the spectrum is kept.
    """
    rows = torch.arange(math.ceil(alpha * height), dtype=torch.float64)[:, None] / height
    columns = torch.arange(math.ceil(alpha * width), dtype=torch.float64)[None, :] / width
    return (rows + columns < alpha).float()


class DCTHighPass(nn.Module):
    """x_2 = D^-1(F(D(x_1), alpha)) (Eq. 3) on images of any size.

    The transform is orthonormal, so the result is the image minus its low frequencies. Only those are
    transformed, which gives the same result for a quarter of the work.

    Args:
        size: side of the square images whose matrices are stored; those of other sizes are computed on each call.
        alpha: legs of the triangle of removed coefficients, as fractions of height and width, in 0..1.
    """

    rows: Tensor
    triangle: Tensor

    def __init__(self, size: int, alpha: float) -> None:
        super().__init__()
        self.size, self.alpha = size, alpha
        triangle = low_frequencies(size, size, alpha)
        self.register_buffer("rows", dct_rows(len(triangle), size), persistent=False)
        self.register_buffer("triangle", triangle, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Filter images [B, 1, H, W] of any range; returns float32 [B, 1, H, W] in the same units, with mean 0."""
        height, width = images.shape[-2:]
        if height == width == self.size:
            triangle, vertical, horizontal = self.triangle, self.rows, self.rows
        else:
            triangle = low_frequencies(height, width, self.alpha).to(images.device)
            vertical = dct_rows(triangle.shape[0], height).to(images.device)
            horizontal = dct_rows(triangle.shape[1], width).to(images.device)
        with without_autocast(images):
            images = images.float()
            low = (vertical @ images @ horizontal.T) * triangle
            return images - vertical.T @ low @ horizontal
