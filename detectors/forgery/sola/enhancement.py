"""Local Enhancement Module: attention within each patch of a feature map (SOLA, section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill import ConfigError

__all__ = ["LocalEnhancement"]


class LocalEnhancement(nn.Module):
    """Separates the features of forged and real cells of a patch, by self-attention among its cells.

    x + lambda * softmax(theta(p)^T f(p)) g(p) for each patch p of a grid (Eqs. 5 and 6); theta, f and g are 1x1
    convolutions, and lambda is learned, starting from 0.

    Args:
        channels: of the map.
        grid: patches per side.
    """

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        embedding = max(1, channels // 8)
        self.theta = nn.Conv2d(channels, embedding, 1)
        self.f = nn.Conv2d(channels, embedding, 1)
        self.g = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.zeros(()))  # lambda

    def forward(self, x: Tensor) -> Tensor:
        """Enhance a map [B, C, h, w].

        Raises:
            ConfigError: if the grid does not divide h and w.
        """
        height, width = x.shape[2:]
        if height % self.grid or width % self.grid:
            raise ConfigError(
                f"A map of {height}x{width} cells cannot be divided into {self.grid}x{self.grid} equal patches: "
                f"use images whose sides are multiples of {8 * self.grid} pixels."
            )
        # Each patch is an attention head: [B, patches, cells, channels]. Eq. 5 has no temperature.
        theta, f, g = (self._to_patches(embed(x)) for embed in (self.theta, self.f, self.g))
        enhanced = F.scaled_dot_product_attention(theta, f, g, scale=1.0)
        return x + self.scale * self._to_map(enhanced, height, width)

    def _to_patches(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, grid^2, h w / grid^2, C]."""
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, self.grid, height // self.grid, self.grid, width // self.grid)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, self.grid**2, -1, channels)

    def _to_map(self, patches: Tensor, height: int, width: int) -> Tensor:
        """The inverse of `_to_patches`."""
        batch, _, _, channels = patches.shape
        x = patches.reshape(batch, self.grid, self.grid, height // self.grid, width // self.grid, channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, height, width)
