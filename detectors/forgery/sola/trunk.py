"""The two streams of SOLA, colour and noise, fused after each stage (SOLA, Fig. 2)."""

from itertools import pairwise

from timm.layers.cbam import ChannelAttn
from torch import Tensor, nn

from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.sola.enhancement import LocalEnhancement

__all__ = ["DualChannelAttention", "FusedStage", "fused_stages"]

_STRIDES = (2, 4, 8)  # of the three stages: "the 3 out of 4 blocks in ResNet18", its stem without max-pooling


class DualChannelAttention(nn.Module):
    """DCAM: channel attention (CBAM's) on the colour and the noise map, and on their sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.colour = ChannelAttn(channels)
        self.noise = ChannelAttn(channels)
        self.fused = ChannelAttn(channels)

    def forward(self, colour: Tensor, noise: Tensor) -> Tensor:
        """Fuse two maps [B, C, h, w] into one."""
        fused: Tensor = self.fused(self.colour(colour) + self.noise(noise))
        return fused


class FusedStage(nn.Module):
    """One stage of both streams. The fused and enhanced map continues as the colour stream, the noise map unchanged.

    Args:
        colour, noise: the stage in each stream; without noise there is no fusion.
        channels: after the stage.
        grid: patches per side of the local enhancement; None for no enhancement.
    """

    def __init__(self, colour: nn.Module, noise: nn.Module | None, channels: int, grid: int | None) -> None:
        super().__init__()
        self.colour = colour
        self.noise = noise
        self.fusion = DualChannelAttention(channels) if noise is not None else None
        self.enhancement = nn.Identity() if grid is None else LocalEnhancement(channels, grid)

    def forward(self, colour: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map [B, C_i, h, w] to [B, C_j, h', w'] in each stream; noise is None if there is no noise stream."""
        colour = self.colour(colour)
        if self.noise is not None and self.fusion is not None:
            noise = self.noise(noise)
            colour = self.fusion(colour, noise)
        return self.enhancement(colour), noise


def fused_stages(colour: Backbone, noise: Backbone | None, grid: int | None) -> nn.ModuleList:
    """Build three `FusedStage`s, of strides 2, 4 and 8, from the first stages of one or two equal networks.

    Raises:
        ConfigError: if the network has no stage of one of these strides.
    """
    ends = [colour.last_at(stride) + 1 for stride in _STRIDES]
    return nn.ModuleList(
        FusedStage(
            colour.part(begin, end), None if noise is None else noise.part(begin, end), colour.channels[end - 1], grid
        )
        for begin, end in pairwise([0, *ends])
    )
