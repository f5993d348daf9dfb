"""MixBlock: attention between F3-Net's two streams (Qian et al., ECCV 2020)."""

import torch
from torch import Tensor, nn

from facemill.detectors.forgery.precision import without_autocast

__all__ = ["MixBlock"]


class MixBlock(nn.Module):
    """Adds to each stream's map what the other's has in rows that are alike.

    In each channel, `A = softmax([Q_1, Q_2] [K_1, K_2]^T)` compares rows of both maps, side by side, after 1x1
    convolutions; stream 1 becomes `x_1 + g_1 A x_2`, stream 2 `x_2 + g_2 A x_1`. The gates g are learned, from 0.

    How the attention is applied could not be established. Here it averages the other map's rows; third parties multiply
    A and the map value by value, for which the map must be square, and add a depthwise convolution.

    Args:
        channels: of each stream's map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.queries = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.keys = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.gates = nn.Parameter(torch.zeros(2))

    def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """Mix two maps [B, C, h, w]."""
        maps = (first, second)
        query = torch.cat([embed(x) for embed, x in zip(self.queries, maps, strict=True)], 3)  # [B, C, h, 2w]
        key = torch.cat([embed(x) for embed, x in zip(self.keys, maps, strict=True)], 3)
        with without_autocast(first):
            attention = torch.softmax(query.float() @ key.float().mT, 3)  # [B, C, h, h]
            mixed = [gate * (attention @ x.float()) for gate, x in zip(self.gates, (second, first), strict=True)]
        return [x + more.to(x.dtype) for x, more in zip(maps, mixed, strict=True)]
