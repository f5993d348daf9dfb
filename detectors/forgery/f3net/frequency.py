"""F3-Net's two views of an image's frequencies: its parts in bands, and statistics of bands in small windows.

Qian et al., Thinking in Frequency (ECCV 2020). Both weigh DCT coefficients by `base + sigma(w)`, where `base` is 1 in a
band and `w` is learned, and sigma(w) = (1 - e^-w) / (1 + e^-w). Both compute in float32, even under autocast.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.lrl.dct import dct_rows
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["FrequencyDecomposition", "LocalFrequencyStatistics", "band_filters"]

_BOUNDS = (0, math.sqrt(1 / 8), 1 / 2, 2)  # of triangles that hold 1/16 and 1/8 of the spectrum
_WINDOW, _STRIDE = 10, 2  # of the sliding windows, pixels
_PADDING = _WINDOW // 2 - 1
_LEARNED_STD = 0.1  # of the learned weights' initial values
_SMALLEST = 0.1
"""Added to a band's sum before the logarithm. One grey level in one pixel of a window adds about 1 to the sum of its 17
coefficients, and rounding errors of float32 0.001."""
_CENTRE = 2.0
"""Subtracted from the logarithms, most of which are between 2 and 3: the running statistics of a normalisation whose
input is far from 0 do not keep up with the weights before it."""


def band_filters(height: int, width: int, bounds: tuple[float, ...]) -> Tensor:
    """Indicators of bands of a spectrum, whose coefficient (u, v) is in a band if `u / height + v / width` is.

    Args:
        bounds: of the bands, ascending in 0..2; the lower one belongs to a band.

    Returns:
        float32 [len(bounds) - 1, height, width], 0 or 1.
    """
    u = torch.arange(height, dtype=torch.float64)[:, None] * width
    v = torch.arange(width, dtype=torch.float64)[None, :] * height
    position = (u + v) / (height * width)
    return torch.stack([(low <= position) & (position < high) for low, high in pairwise(bounds)]).float()


class FrequencyDecomposition(nn.Module):
    """FAD: the parts of an image in the low, middle and high band of its DCT, `D^-1(D(x) * (f_base + sigma(f_w)))`.

    The low band is the first 1/16 of the spectrum, the middle one that from 1/16 to 1/8, the high one the rest.

    Args:
        size: side of the square images that the learned weights belong to; they are resized for others.
        all_band: a fourth part, of the whole spectrum.
        learnable: whether weights are learned; otherwise only the bands are used.
    """

    rows: Tensor
    base: Tensor

    def __init__(self, size: int, *, all_band: bool, learnable: bool) -> None:
        super().__init__()
        self.all_band = all_band
        self.register_buffer("rows", dct_rows(size, size), persistent=False)
        self.register_buffer("base", self._bands(size, size), persistent=False)  # [parts, size, size]
        self.weights = nn.Parameter(_LEARNED_STD * torch.randn(self.base.shape)) if learnable else None

    def forward(self, images: Tensor) -> Tensor:
        """Decompose images [B, C, H, W] into float32 [B, parts * C, H, W], the parts one after another."""
        height, width = images.shape[-2:]
        vertical = horizontal = self.rows
        filters = self.base
        learned: Tensor | None = self.weights
        if filters.shape[1:] != (height, width):
            vertical, horizontal = (dct_rows(side, side).to(images.device) for side in (height, width))
            filters = self._bands(height, width).to(images.device)
            if learned is not None:
                learned = F.interpolate(learned[None], (height, width), mode="bilinear")[0]
        if learned is not None:
            filters = filters + torch.tanh(learned / 2)
        with without_autocast(images):
            spectrum = vertical @ images.float() @ horizontal.T
            parts = spectrum[:, None] * filters[:, None]  # [B, parts, C, H, W]
            return (vertical.T @ parts @ horizontal).flatten(1, 2)

    def _bands(self, height: int, width: int) -> Tensor:
        filters = band_filters(height, width, _BOUNDS)
        return torch.cat((filters, torch.ones(1, height, width))) if self.all_band else filters


class LocalFrequencyStatistics(nn.Module):
    """LFS: `log10 |D(p) * (h_base + sigma(h_w))|_1 - 2` of each window p, for each of M equal bands of its DCT.

    Windows have 10 x 10 pixels, 2 apart; 4 pixels of black surround the image. The 2 of the formula changes nothing of
    what an Xception can compute, whose first convolution is not padded and then normalised.

    Args:
        bands: M.
        learnable: as of `FrequencyDecomposition`.
    """

    base: Tensor
    transform: Tensor

    def __init__(self, bands: int, *, learnable: bool) -> None:
        super().__init__()
        rows = dct_rows(_WINDOW, _WINDOW)
        self.register_buffer("transform", torch.kron(rows, rows), persistent=False)  # of a window's pixels in rows
        bounds = tuple(2 * band / bands for band in range(bands + 1))
        self.register_buffer("base", band_filters(_WINDOW, _WINDOW, bounds).flatten(1), persistent=False)  # [M, 100]
        self.weights = nn.Parameter(_LEARNED_STD * torch.randn(bands, _WINDOW**2)) if learnable else None

    def forward(self, gray: Tensor) -> Tensor:
        """Map images [B, 1, H, W] in 0..255 to float32 [B, M, h, w], a cell per window."""
        height, width = ((side + 2 * _PADDING - _WINDOW) // _STRIDE + 1 for side in gray.shape[-2:])
        with without_autocast(gray):
            windows = F.unfold(gray.float(), _WINDOW, stride=_STRIDE, padding=_PADDING)  # [B, 100, h w]
            filters = self.base if self.weights is None else self.base + torch.tanh(self.weights / 2)
            # A product rather than a convolution, which GPUs round to ten bits by default.
            sums = filters.abs() @ (self.transform @ windows).abs()
            return (torch.log10(sums + _SMALLEST) - _CENTRE).reshape(*sums.shape[:2], height, width)
