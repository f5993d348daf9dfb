"""Attention modules that the SIA paper compares with (Table 5), each [B, C, H, W] -> [B, C, H, W]."""

import torch
from timm.layers import SqueezeExcite
from torch import Tensor, nn
from torch.nn import functional as F

from facemill import ConfigError

__all__ = ["GlobalSelfAttention", "NonLocal", "squeeze_excitation"]


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


class GlobalSelfAttention(nn.Module):
    """GSA module of Shen et al. (arXiv 2010.03019): attention to content and to relative positions, in parallel.

    Keys are normalised over all positions and queries not at all, so that attention to content is linear in the number
    of positions. Attention to positions mixes values along each column by learned embeddings of their distances, then
    along each row. The SIA paper does not say how the module is inserted: here it is added to the features with a
    normalisation whose weights start at 0, as `NonLocal` is. Values have C / heads channels a head.

    Args:
        channels: C, a multiple of `heads`.
        side: greatest height or width of the features, cells; positions further apart have no embedding.
        heads: independent attentions; the embeddings of distances are common to them.
        key_channels: width of a query and of a key, per head.

    Raises:
        ConfigError: if the channels cannot be divided among the heads.
    """

    def __init__(self, channels: int, side: int, *, heads: int = 8, key_channels: int = 64) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(
                f"Global self-attention of {heads} heads cannot divide {channels} channels: choose other positions."
            )
        self.heads = heads
        self.splits = (heads * key_channels, heads * key_channels, channels)  # queries, keys, values
        self.embed = nn.Conv2d(channels, sum(self.splits), 1, bias=False)
        self.embed_norm = nn.BatchNorm2d(sum(self.splits))
        self.columns = nn.Parameter(torch.randn(2 * side - 1, key_channels) * key_channels**-0.5)
        self.rows = nn.Parameter(torch.randn(2 * side - 1, key_channels) * key_channels**-0.5)
        self.column_norm = nn.BatchNorm2d(channels)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        split = self.embed_norm(self.embed(features)).split(self.splits, dim=1)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in split)  # [B, heads, k or C / heads, h, w]
        weights = key.flatten(3).softmax(-1).view_as(key)
        context = torch.einsum("bnkhw,bnchw->bnkc", weights, value)
        content = torch.einsum("bnkhw,bnkc->bnchw", query, context)
        height, width = features.shape[2:]
        along = torch.einsum("bnkhw,hik->bnhwi", query, _embeddings(self.columns, height))
        mixed = torch.einsum("bnhwi,bnciw->bnchw", along, value)
        mixed = self.column_norm(mixed.flatten(1, 2)).view_as(mixed)
        along = torch.einsum("bnkhw,wik->bnhwi", query, _embeddings(self.rows, width))
        position = torch.einsum("bnhwi,bnchi->bnchw", along, mixed)
        changed: Tensor = self.norm(self.out((content + position).flatten(1, 2)))
        return features + changed


def _embeddings(table: Tensor, length: int) -> Tensor:
    """[position, other position, key channels] of the embeddings of distances; 0 beyond the table."""
    place = torch.arange(length, device=table.device)
    furthest = table.shape[0] // 2
    distance = place[None, :] - place[:, None]
    known = (distance.abs() <= furthest)[..., None]
    return table[distance.clamp(-furthest, furthest) + furthest] * known
