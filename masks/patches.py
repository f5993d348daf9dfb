"""What share of each patch is forged, and from it how alike two patches should be: Local Relation Learning's targets.

Unlike the rest of the package this works on batches of torch tensors, where the network is.
"""

from torch import Tensor
from torch.nn import functional as F

from facemill import ConfigError

__all__ = ["patch_means", "patch_size", "similarity_target"]


def patch_means(masks: Tensor, k: int) -> Tensor:
    """The mean of each of k x k patches.

    Args:
        masks: [B, 1, H, W], 1 where forged.
        k: patches along a side.

    Returns:
        float32 [B, k, k].

    Raises:
        ConfigError: as `patch_size`.
    """
    height, width = masks.shape[-2:]
    patch = patch_size(height, width, k)
    return F.avg_pool2d(masks.float(), patch, ceil_mode=True)[:, 0]  # divides by the pixels that there are


def patch_size(height: int, width: int, k: int) -> tuple[int, int]:
    """Height and width of the k x k patches of a picture or map, rounded up; the last row and column may be smaller.

    Raises:
        ConfigError: where nothing is left for the last, as with 8 pixels and k = 5.
    """
    size = (-(-height // k), -(-width // k))
    if (-(-height // size[0]), -(-width // size[1])) != (k, k):
        raise ConfigError(
            f"A map of {height}x{width} does not make {k}x{k} patches of {size[0]}x{size[1]}: "
            "choose a smaller k, or a size that k divides (32 * k, for the input of a detector)."
        )
    return size


def similarity_target(masks: Tensor, k: int) -> Tensor:
    """How alike any two patches should be: 1 - (p_i - p_j)^2 (Local Relation Learning, Eq. 9).

    Args:
        masks: [B, 1, H, W], 1 where forged; all 0 for a real, whose patches are all alike.
        k: patches along a side; they are numbered row by row.

    Returns:
        float32 [B, k * k, k * k] in 0..1.

    Raises:
        ConfigError: as `patch_size`.
    """
    means = patch_means(masks, k).flatten(1)  # [B, k * k]
    return 1 - (means[:, :, None] - means[:, None, :]).square()
