"""Modules of Local Relation Learning: attention between streams, multi-scale maps, patch similarity, decoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.precision import without_autocast
from facemill.masks.patches import patch_size

__all__ = ["RFAM", "MaskDecoder", "MultiScale", "patch_similarity"]

_WIDTHS = (256, 256, 128, 64)  # of the decoder's blocks
_MIN_NORM = 1e-6  # norm below which a patch counts as empty; bounds the gradient of dead features


class RFAM(nn.Module):
    """RGB-frequency attention (Eqs. 4 and 5): weights each stream's map at each position.

    The paper first calls U_1 the frequency stream's map, and later the RGB stream's; here it is the RGB stream's.

    Args:
        channels: of each stream's map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(2 * channels, 2 * channels, 1, bias=False), nn.BatchNorm2d(2 * channels), nn.ReLU(inplace=True)
        )
        self.attend = nn.Conv2d(2 * channels, 2, 3, padding=1)

    def forward(self, rgb: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Map U_1 and U_2, each [B, C, h, w], to A_1 * U_1 and A_2 * U_2, whose sum is Eq. 6."""
        mixed = self.mix(torch.cat((rgb, frequency), 1))  # V, [B, 2C, h, w]
        attention = torch.sigmoid(self.attend(mixed))  # A, [B, 2, h, w]
        return attention[:, :1] * rgb, attention[:, 1:] * frequency


class MultiScale(nn.Module):
    """Maps of several stages, resized to the last one's size and concatenated."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Combine maps [B, C_l, h_l, w_l] into float32 [B, sum of C_l, h, w]."""
        size = maps[-1].shape[-2:]
        return torch.cat([F.interpolate(x.float(), size, mode="bilinear") for x in maps[:-1]] + [maps[-1].float()], 1)


class MaskDecoder(nn.Sequential):
    """Segmentation decoder, which the paper mentions without giving its layers.

    As in third-party implementations: four blocks of nearest upsampling by 2 and two 3x3 convolutions with instance
    normalisation and ReLU, then a 1x1 convolution.

    Args:
        channels: of the input map.
    """

    def __init__(self, channels: int) -> None:
        blocks: list[nn.Module] = []
        for width in _WIDTHS:
            blocks += [nn.Upsample(scale_factor=2), *_convolution(channels, width), *_convolution(width, width)]
            channels = width
        super().__init__(*blocks, nn.Conv2d(channels, 1, 1))


def patch_similarity(features: Tensor, k: int) -> Tensor:
    """Cosine similarity of each pair of a map's k x k patches, rescaled from -1..1 to 0..1 (Eq. 7).

    Patches at the border that are smaller than the others are zero-padded.

    Args:
        features: [B, C, H, W].
        k: patches per side; they are numbered row by row.

    Returns:
        float32 [B, k * k, k * k].

    Raises:
        ConfigError: as `facemill.masks.patches.patch_size`.
    """
    batch, channels, height, width = features.shape
    h, w = patch_size(height, width, k)
    with without_autocast(features):
        padded = F.pad(features.float(), (0, k * w - width, 0, k * h - height))
        patches = padded.view(batch, channels, k, h, k, w).permute(0, 2, 4, 1, 3, 5)
        vectors = F.normalize(patches.reshape(batch, k * k, channels * h * w), dim=2, eps=_MIN_NORM)
        return ((vectors @ vectors.mT).clamp(-1, 1) + 1) / 2  # rounding exceeds 1


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]
