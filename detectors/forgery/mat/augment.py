"""MAT's attention-guided augmentation: training images are degraded where one attention map is high."""

from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from facemill.detectors.forgery.mat.pooling import resize
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["attention_guided_augment", "augmentation_maps", "degrade", "hard_drop", "soft_drop"]

_SHRINK = 0.3
_BLUR_SIDE, _BLUR_SIGMA = 11, 7.0  # pixels of the shrunk image; the side is from the authors' released code
_DROP_ABOVE = 0.5  # theta_d of Eq. 7


@torch.no_grad()
def attention_guided_augment(images: Tensor, attentions: Tensor, kind: Literal["soft", "hard"]) -> Tensor:
    """Degrade each image where a randomly chosen one of its attention maps is high.

    Args:
        images: [B, 3, H, W], normalised for the network.
        attentions: [B, M, h, w], non-negative.
        kind: `soft` blurs (Eq. 6), `hard` erases (Eq. 7).

    Returns:
        [B, 3, H, W], without gradient.
    """
    drawn = torch.randint(attentions.shape[1], (len(attentions),), device=attentions.device)
    chosen = attentions[torch.arange(len(attentions), device=attentions.device), drawn]
    maps = augmentation_maps(chosen, images.shape[-2:])
    return soft_drop(images, maps) if kind == "soft" else hard_drop(images, maps)


def augmentation_maps(attention: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize one map per image, [B, h, w], divided by its maximum (if not 0), to A* [B, 1, *size] in 0..1."""
    attention = attention.float()[:, None]
    peak = attention.amax((2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return resize(attention / peak, size)


def soft_drop(images: Tensor, maps: Tensor) -> Tensor:
    """Soft attention dropping (Eq. 6): I (1 - A*) + I_d A*."""
    return torch.lerp(images, degrade(images), maps.to(images.dtype))


def hard_drop(images: Tensor, maps: Tensor) -> Tensor:
    """Hard attention dropping (Eq. 7): 0, the mean colour, where A* exceeds 0.5."""
    return images * (maps <= _DROP_ABOVE)


def degrade(images: Tensor) -> Tensor:
    """I_d: images [B, 3, H, W] shrunk by 0.3, blurred (reflected borders) and enlarged to their size."""
    height, width = images.shape[-2:]
    with without_autocast(images):
        small = resize(images, (round(_SHRINK * height), round(_SHRINK * width)))
        blurred = gaussian_blur(small, [_BLUR_SIDE, _BLUR_SIDE], [_BLUR_SIGMA, _BLUR_SIGMA])
        return resize(blurred, (height, width))
