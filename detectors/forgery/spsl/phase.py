"""The phase spectrum as an image: Liu et al., Spatial-Phase Shallow Learning (CVPR 2021)."""

import torch
from torch import Tensor

from facemill.detectors.forgery.precision import without_autocast

__all__ = ["phase_image"]

_ROUNDING = 1e-4
"""Amplitude, for values in 0..1, below which a coefficient is not scaled up to 1. That of rounding errors of float32 is
1e-5; that of the rounding to 256 levels, the weakest signal of an image, is 1e-3."""


def phase_image(images: Tensor) -> Tensor:
    """Inverse Fourier transform of an image's phase spectrum, all amplitudes being 1: `F^-1(F(x) / |F(x)|)`.

    Both transforms are orthonormal, so that its mean square is 1 for any size, near that of a normalised channel.

    Args:
        images: [B, 1, H, W], values in 0..1.

    Returns:
        float32 [B, 1, H, W].
    """
    with without_autocast(images):
        spectrum = torch.view_as_real(torch.fft.fft2(images.float(), norm="ortho"))  # [B, 1, H, W, 2]
        amplitude = torch.linalg.vector_norm(spectrum, dim=-1, keepdim=True)
        phase = spectrum / amplitude.clamp(min=_ROUNDING)
        return torch.view_as_real(torch.fft.ifft2(torch.view_as_complex(phase), norm="ortho"))[..., 0]
