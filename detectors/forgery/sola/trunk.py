"""The two streams of SOLA, colour and noise, fused after each stage (SOLA, Fig. 2).

Fei et al., Learning Second Order Local Anomaly for General Face Forgery Detection, CVPR 2022.
"""

from itertools import pairwise

from timm.layers.cbam import ChannelAttn
from torch import Tensor, nn

from facemill.detectors.forgery.backbones import Backbone
from facemill.detectors.forgery.sola.enhancement import LocalEnhancement

__all__ = ["DualChannelAttention", "FusedStage", "fused_stages"]

_STRIDES = (2, 4, 8)  # of the three stages: "the 3 out of 4 blocks in ResNet18", its stem without max-pooling


class DualChannelAttention(nn.Module):
    """DCAM: channel attention (CBAM's) on the colour and on the noise map, their sum, channel attention again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.colour = ChannelAttn(channels)
        self.noise = ChannelAttn(channels)
        self.fused = ChannelAttn(channels)

    def forward(self, colour: Tensor, noise: Tensor) -> Tensor:
        """Two maps [B, C, h, w] to one."""
        fused: Tensor = self.fused(self.colour(colour) + self.noise(noise))
        return fused


class FusedStage(nn.Module):
    """One stage of both streams. The fused and enhanced map goes on as the colour stream, the noise as it is.

    Args:
        colour, noise: the stage in each stream; no noise, no fusion.
        channels: after the stage.
        grid: patches along each side of the local enhancement; None for none.
    """

    def __init__(self, colour: nn.Module, noise: nn.Module | None, channels: int, grid: int | None) -> None:
        super().__init__()
        self.colour = colour
        self.noise = noise
        self.fusion = DualChannelAttention(channels) if noise is not None else None
        self.enhancement = nn.Identity() if grid is None else LocalEnhancement(channels, grid)

    def forward(self, colour: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Maps [B, C_i, h, w] to maps [B, C_j, h', w']; the noise is None where there is no such stream."""
        colour = self.colour(colour)
        if self.noise is not None and self.fusion is not None:
            noise = self.noise(noise)
            colour = self.fusion(colour, noise)
        return self.enhancement(colour), noise


def fused_stages(colour: Backbone, noise: Backbone | None, grid: int | None) -> nn.ModuleList:
    """Three `FusedStage`s, of strides 2, 4 and 8, out of the beginnings of one or two equal networks.

    Raises:
        ConfigError: where the network has no stage of one of these strides.
    """
    ends = [colour.last_at(stride) + 1 for stride in _STRIDES]
    return nn.ModuleList(
        FusedStage(
            nn.Sequential(*colour.stages[begin:end]),
            None if noise is None else nn.Sequential(*noise.stages[begin:end]),
            colour.channels[end - 1],
            grid,
        )
        for begin, end in pairwise([0, *ends])
    )
