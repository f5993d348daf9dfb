"""RECCE's decoder: reconstructs an image from features of an early stage (Cao et al., CVPR 2022)."""

from timm.models.xception import Block, SeparableConv2d
from torch import Tensor, nn

__all__ = ["Decoder"]


class Decoder(nn.Module):
    """Three times: upsampling by 2 and a separable convolution, the first two with a block of Xception's after them.

    Args:
        channels: of the features.

    Attributes:
        widths: channels of the maps after each of the first two.
    """

    widths = (256, 128)

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = self.widths
        self.first = nn.Sequential(*_upsampled(channels, first), Block(first, first, 3))
        self.second = nn.Sequential(*_upsampled(first, second), Block(second, second, 3))
        self.image = nn.Sequential(*_upsampled(second, 64), nn.Conv2d(64, 3, 1, bias=False), nn.Tanh())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decode features [B, C, h, w].

        Returns:
            The maps [B, 256, 2h, 2w] and [B, 128, 4h, 4w], and the image [B, 3, 8h, 8w] in -1..1.
        """
        first = self.first(features)
        second = self.second(first)
        return first, second, self.image(second)


def _upsampled(channels: int, width: int) -> list[nn.Module]:
    convolution = SeparableConv2d(channels, width, 3, 1, 1)
    return [nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
