"""MAT's texture enhancement: a shallow map minus its local averages, through a dense block."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TextureEnhancement", "texture_residual"]

_LAYERS = 3
_GROWTH = 32


class TextureEnhancement(nn.Module):
    """Residual of a shallow map (Eq. 1), enhanced by three densely connected 3x3 convolutions.

    The paper gives neither the growth rate nor the order of operations: 32, and normalisation - ReLU - convolution,
    are DenseNet's.

    Attributes:
        in_channels: of the shallow map.
        out_channels: of the enhanced map: the input's and those that each layer adds.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_dense_layer(channels + _GROWTH * index) for index in range(_LAYERS))
        self.in_channels, self.out_channels = channels, channels + _GROWTH * _LAYERS

    def forward(self, features: Tensor, attentions: Tensor) -> tuple[Tensor, Tensor]:
        """Enhance the texture of a shallow map [B, C, H, W].

        Args:
            features: the shallow map.
            attentions: [B, M, h, w], whose size is that of the map of local averages.

        Returns:
            The texture feature map F [B, out_channels, H, W], and the local averages D [B, C, h, w].
        """
        maps, pooled = texture_residual(features, attentions.shape[-2:])
        for layer in self.layers:
            maps = torch.cat([maps, layer(maps)], dim=1)
        return maps, pooled


def texture_residual(features: Tensor, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Subtract a map's local averages (Eq. 1): T = f - D, with D enlarged to f's size by nearest interpolation.

    If `grid` does not divide the map's size, patches overlap by up to a cell, as in adaptive pooling.

    Returns:
        T [B, C, H, W] and D [B, C, *grid].
    """
    rows, columns = grid
    pooled = F.adaptive_avg_pool2d(features, (rows, columns))
    return features - F.interpolate(pooled, features.shape[-2:], mode="nearest"), pooled


def _dense_layer(channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, _GROWTH, 3, padding=1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), convolution)
