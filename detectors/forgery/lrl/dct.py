"""The frequency cue of Local Relation Learning: a picture without its low frequencies (Eqs. 1 to 3).

All in float32, even under autocast: bf16 would round away the faint traces that the filter is there to show.
"""

import math

import torch
from torch import Tensor, nn

from facemill.detectors.forgery.precision import without_autocast

__all__ = ["DCTHighPass", "dct_rows", "low_frequencies"]


def dct_rows(count: int, size: int) -> Tensor:
    """The first rows of the orthonormal DCT-II matrix C of that size: C @ x is the transform of columns x.

    Returns:
        float32 [count, size], computed in float64.
    """
    frequencies = torch.arange(count, dtype=torch.float64)[:, None]
    positions = torch.arange(size, dtype=torch.float64)[None, :] + 0.5
    rows = torch.cos(math.pi / size * frequencies * positions) * math.sqrt(2 / size)
    scale = torch.where(frequencies == 0, math.sqrt(0.5), 1.0)
    return (rows * scale).float()


def low_frequencies(height: int, width: int, alpha: float) -> Tensor:
    """The triangle that the filter removes: where row / height + column / width < alpha.

    Returns:
        float32 [ceil(alpha * height), ceil(alpha * width)], 1 in the triangle; beyond it there is none.
    """
    rows = torch.arange(math.ceil(alpha * height), dtype=torch.float64)[:, None] / height
    columns = torch.arange(math.ceil(alpha * width), dtype=torch.float64)[None, :] / width
    return (rows + columns < alpha).float()


class DCTHighPass(nn.Module):
    """x_2 = D^-1(F(D(x_1), alpha)) (Eq. 3) on pictures of any size.

    The transform is orthonormal, so what is left is the picture less its low frequencies. Only those are
    transformed, which takes a quarter of the work and leaves the same.

    Args:
        size: side of the square pictures that the matrices are kept for; other sizes' are made when they come.
        alpha: legs of the triangle of removed coefficients, as shares of height and width, in 0..1.
    """

    rows: Tensor
    triangle: Tensor

    def __init__(self, size: int, alpha: float) -> None:
        super().__init__()
        self.size, self.alpha = size, alpha
        triangle = low_frequencies(size, size, alpha)
        self.register_buffer("rows", dct_rows(len(triangle), size), persistent=False)
        self.register_buffer("triangle", triangle, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures [B, 1, H, W] of any range to float32 [B, 1, H, W] of that range, with mean 0."""
        height, width = pictures.shape[-2:]
        if height == width == self.size:
            triangle, vertical, horizontal = self.triangle, self.rows, self.rows
        else:
            triangle = low_frequencies(height, width, self.alpha).to(pictures.device)
            vertical = dct_rows(triangle.shape[0], height).to(pictures.device)
            horizontal = dct_rows(triangle.shape[1], width).to(pictures.device)
        with without_autocast(pictures):
            pictures = pictures.float()
            low = (vertical @ pictures @ horizontal.T) * triangle
            return pictures - vertical.T @ low @ horizontal
