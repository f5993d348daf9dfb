"""Modules that SIA inserts between a backbone's blocks: dual attention (Eqs. 4 to 7) and aggregation (Eq. 8)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.forgery.sia.information import self_information

__all__ = ["Aggregation", "SelfInformationAttention"]


class SelfInformationAttention(nn.Module):
    """Amplifies informative positions and informative channels of a map [B, C, H, W].

    Args:
        channels: C.
        spatial: weight positions by their self-information (Eq. 4).
        channel: weight channels by a linear function of their mean self-information (Eqs. 5 and 6).
        inter_weight: lambda of Eq. 3.
        bandwidth: h of Eqs. 1 and 2.
        gradient: also propagate gradients to the features through their self-information.
    """

    def __init__(
        self, channels: int, *, spatial: bool, channel: bool, inter_weight: float, bandwidth: float, gradient: bool
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.channel_weights = nn.Linear(channels, channels, bias=False) if channel else None  # W of Eq. 6
        self.inter_weight = inter_weight
        self.bandwidth = bandwidth
        self.gradient = gradient

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The attended map (Eq. 7) [B, C, H, W], and the self-information (Eq. 3), float32 [B, C, H, W]."""
        # Exponentials of squared differences, and a sigmoid of their unbounded mean, need more precision than bf16.
        with without_autocast(features):
            source = features if self.gradient else features.detach()
            information = self_information(source, inter_weight=self.inter_weight, bandwidth=self.bandwidth)
            attended = features
            if self.spatial:
                attended = torch.sigmoid(information).to(features.dtype) * attended  # Eq. 4
            if self.channel_weights is not None:
                weights = torch.sigmoid(self.channel_weights(information.mean((2, 3))))[:, :, None, None]
                attended = weights.to(features.dtype) * attended
            return attended + features, information


class Aggregation(nn.Module):
    """Adds the self-information of earlier attentions to the input of a later one (Eq. 8).

    Args:
        earlier: channels of each earlier attention.
        channels: of the later one.
    """

    bias: ClassVar[bool] = False
    """Whether the convolutions have a bias."""

    def __init__(self, earlier: Sequence[int], channels: int) -> None:
        super().__init__()
        self.aligns = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, channels, 1, bias=self.bias), nn.BatchNorm2d(channels), nn.ReLU())
            for count in earlier
        )

    def forward(self, features: Tensor, informations: Sequence[Tensor]) -> Tensor:
        """Add to features [B, C, H, W] one aligned map [B, C_i, H_i, W_i] per earlier attention; [B, C, H, W]."""
        for align, information in zip(self.aligns, informations, strict=True):
            features = features + self.resize(align(information), features.shape[-2:]).to(features.dtype)
        return features

    def resize(self, maps: Tensor, size: tuple[int, ...]) -> Tensor:
        """Resize aligned maps [B, C, h, w] to [B, C, *size]."""
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)
