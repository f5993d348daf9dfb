"""Forged share of each patch, and target similarities of patches for Local Relation Learning.

Unlike the rest of the package, this module works on batches of torch tensors, on their device.
"""

from torch import Tensor
from torch.nn import functional as F

from facemill import ConfigError

__all__ = ["patch_means", "patch_size", "similarity_target"]


def patch_means(masks: Tensor, k: int) -> Tensor:
    """Mean of each of the k x k patches of a mask.

    Args:
        masks: [B, 1, H, W], 1 where forged.
        k: patches along a side.

    Returns:
        float32 [B, k, k].

    Raises:
        ConfigError: as `patch_size`.
    """
    height, width = masks.shape[2:]
    patch = patch_size(height, width, k)
    return F.avg_pool2d(masks.float(), patch, ceil_mode=True)[:, 0]  # partial patches are divided by their own size


def patch_size(height: int, width: int, k: int) -> tuple[int, int]:
    """Height and width of the k x k patches of an image or map, rounded up; the last row and column may be smaller.

    Raises:
        ConfigError: if the last row or column would be empty, as with 8 pixels and k = 5.
    """
    size = (-(-height // k), -(-width // k))
    if (-(-height // size[0]), -(-width // size[1])) != (k, k):
        raise ConfigError(
            f"A map of {height}x{width} cannot be divided into {k}x{k} patches of {size[0]}x{size[1]}: "
            "choose a smaller k, or a size that k divides (32 * k, for the input of a detector)."
        )
    return size


def similarity_target(masks: Tensor, k: int) -> Tensor:
    """Target similarity of each pair of patches: 1 - (p_i - p_j)^2 (Local Relation Learning, Eq. 9).

    Args:
        masks: [B, 1, H, W], 1 where forged; all 0 for a real image, so that the similarity of all its patches is 1.
        k: patches along a side, numbered row by row.

    Returns:
        float32 [B, k * k, k * k] in 0..1.

    Raises:
        ConfigError: as `patch_size`.
    """
    means = patch_means(masks, k).flatten(1)  # [B, k * k]
    return 1 - (means[:, :, None] - means[:, None, :]).square()
