"""MAT's network as in the authors' released code, which differs from the paper: for checkpoints trained with it."""

import math

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.mat.pooling import resize
from facemill.detectors.forgery.mat.texture import texture_residual

__all__ = ["ReleasedTexture", "fix_padding", "released_attention"]

_LAYERS = 3
_GRID, _BORDER = 24, 2  # side of the mask of attention maps, and the width of its border, which is 0


def released_attention(channels: int, heads: int) -> nn.Sequential:
    """Attention maps [B, heads, h, w], 0 or more, of a deep map [B, channels, h, w].

    The paper has a 1x1 convolution, a norm and ReLU (section 3.2); the release a 3x3 convolution before it, ELU + 1
    instead of ReLU, and no attention near the border.
    """
    return nn.Sequential(
        *(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()),
        *(nn.Conv2d(channels, heads, 1, bias=False), nn.BatchNorm2d(heads), _InsidePositive()),
    )


class _InsidePositive(nn.Module):
    """ELU + 1, and 0 near the border."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        inner = torch.ones(1, 1, _GRID - 2 * _BORDER, _GRID - 2 * _BORDER)
        self.register_buffer("mask", F.pad(inner, [_BORDER] * 4))

    def forward(self, maps: Tensor) -> Tensor:
        return (F.elu(maps) + 1) * F.interpolate(self.mask, maps.shape[-2:], mode="nearest")


class ReleasedTexture(nn.Module):
    """Residual of a shallow map, weighted by each attention map, through a dense block per attention map.

    The paper has one dense block on the residual alone (section 3.3).

    Attributes:
        in_channels: of the shallow map.
        out_channels: of the enhanced map of each attention map: as many.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.in_channels, self.out_channels = heads, channels, channels
        wide = channels * heads
        self.extract = nn.Conv2d(channels, channels, 3, padding=1)
        self.entry = nn.Conv2d(wide, wide, 5, padding=2, groups=heads)
        self.layers = nn.ModuleList(_layer(wide * (index + 1), wide, heads, side=3) for index in range(_LAYERS))
        self.last = _layer(wide * (_LAYERS + 1), wide, heads, side=1).extend([nn.BatchNorm2d(wide), nn.ReLU()])

    def forward(self, features: Tensor, attentions: Tensor) -> tuple[Tensor, Tensor]:
        """Enhance the texture of a shallow map [B, C, H, W] for attention maps [B, M, h, w].

        Returns:
            The texture feature maps [B, M, C, H, W], and the local averages D [B, C, h, w].
        """
        residual, pooled = texture_residual(self.extract(features), attentions.shape[-2:])
        weights = resize(attentions.detach(), residual.shape[-2:], corners=True).tanh()[:, :, None]
        maps = self._by_head(self.entry((residual[:, None] * weights).flatten(1, 2)))  # [B, M, C, H, W]
        for layer in self.layers:
            maps = torch.cat([maps, self._by_head(layer(maps.flatten(1, 2)))], dim=2)
        return self._by_head(self.last(maps.flatten(1, 2))), pooled

    def _by_head(self, maps: Tensor) -> Tensor:
        batch, _, height, width = maps.shape
        return maps.reshape(batch, self.heads, -1, height, width)


def _layer(before: int, after: int, heads: int, *, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, side, padding=side // 2, groups=heads)
    return nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(), convolution)


def fix_padding(network: nn.Module, side: int) -> None:
    """Pad before each strided convolution as for a map of that side, whatever the map's.

    The release's EfficientNet computes all "same" paddings from the image's side, so that maps of an odd side are
    smaller by one than with TensorFlow's.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _FixedPadding(child, side))


class _FixedPadding(nn.Conv2d):
    def __init__(self, same: nn.Conv2d, side: int) -> None:
        kernel, stride = same.kernel_size[0], same.stride[0]
        super().__init__(same.in_channels, same.out_channels, kernel, stride, groups=same.groups, bias=False)
        self.weight = same.weight
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        self.before_after = (total // 2, total - total // 2)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(F.pad(images, self.before_after * 2))
