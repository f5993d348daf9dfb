"""Attention modules that the SIA paper compares with (Table 5), each [B, C, H, W] -> [B, C, H, W]."""

from timm.layers import SqueezeExcite
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NonLocal", "squeeze_excitation"]


def squeeze_excitation(channels: int) -> nn.Module:
    """Channel attention of Hu et al. (CVPR 2018), with their reduction ratio of 16."""
    module: nn.Module = SqueezeExcite(channels, rd_ratio=1 / 16, rd_divisor=1)
    return module


class NonLocal(nn.Module):
    """Non-local block of Wang et al. (CVPR 2018): embedded Gaussian, sub-sampled, with batch normalisation.

    To each position it adds a mean over all positions, weighted by similarity. The normalisation's weights start at 0,
    so that the block is initially the identity.

    Args:
        channels: C; the embeddings have C / 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        # Rounding up keeps the last row and column of odd sizes, and maps with a single cell.
        self.sample = nn.MaxPool2d(2, ceil_mode=True)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        sampled = self.sample(features)
        query, key, value = self.query(features), self.key(sampled), self.value(sampled)  # [B, C / 2, h, w]
        # An embedded Gaussian has no temperature, hence the scale of 1.
        mixed = F.scaled_dot_product_attention(_positions(query), _positions(key), _positions(value), scale=1.0)
        changed: Tensor = self.norm(self.out(mixed[:, 0].transpose(1, 2).reshape_as(query)))
        return features + changed


def _positions(embedding: Tensor) -> Tensor:
    return embedding.flatten(2).transpose(1, 2)[:, None]  # [B, 1 head, h * w, C / 2]
