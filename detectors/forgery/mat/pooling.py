"""MAT's pooling: one feature vector per attended region, and one for all of them together; in float32."""

import torch
from torch import Tensor
from torch.nn import functional as F

from facemill.detectors.forgery.precision import without_autocast

__all__ = ["bilinear_attention_pool", "resize", "weighted_mean"]

_EPSILON = 1e-6  # far below the values of an active head; makes a head that is zero everywhere pool to 0, not NaN


def bilinear_attention_pool(features: Tensor, attentions: Tensor, *, corners: bool = False) -> Tensor:
    """Normalised attention pooling (Eq. 2): sum the attended features over space, scale to unit length.

    Args:
        features: [B, C, H, W], or each attention map's own, [B, M, C, H, W].
        attentions: [B, M, h, w], non-negative; resized to H x W.
        corners: of `resize`.

    Returns:
        float32 [B, M, C], rows of unit length; a row of zeros for a map that is zero everywhere.
    """
    with without_autocast(features):
        attentions = resize(attentions.float(), features.shape[-2:], corners=corners).flatten(2)  # [B, M, H W]
        if features.ndim == 5:
            summed = torch.einsum("bmx,bmcx->bmc", attentions, features.float().flatten(3))
        else:
            summed = attentions @ features.float().flatten(2).mT
        return F.normalize(summed, dim=-1, eps=_EPSILON)


def weighted_mean(features: Tensor, attention: Tensor, *, corners: bool = False) -> Tensor:
    """Mean of features over space, weighted by one map; the plain mean if the map is zero everywhere.

    Args:
        features: [B, C, H, W].
        attention: [B, 1, h, w], non-negative; resized to H x W.
        corners: of `resize`.

    Returns:
        float32 [B, C].
    """
    with without_autocast(features):
        weights = resize(attention.float(), features.shape[-2:], corners=corners).flatten(2) + _EPSILON  # [B, 1, H W]
        weights = weights / weights.sum(-1, keepdim=True)
        return (weights @ features.float().flatten(2).mT)[:, 0]


def resize(maps: Tensor, size: tuple[int, ...], *, corners: bool = False) -> Tensor:
    """Resize maps [B, M, h, w] to [B, M, *size], bilinearly; `corners` aligns the centres of the corner cells."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size, mode="bilinear", align_corners=corners)
