"""Anchors of RetinaFace, and decoding of its networks' outputs to pixels."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["AnchorCoding", "AnchorLevel", "AnchorNetwork", "AnchorOutputs"]


@dataclass(frozen=True, slots=True)
class AnchorLevel:
    """Square anchors around each cell of one feature map.

    Attributes:
        stride: step between cells, pixels of the input.
        sides: sides of a cell's anchors, pixels.
        offset: centre of the first cell's anchors, pixels.
    """

    stride: int
    sides: tuple[int, ...]
    offset: float


@dataclass(frozen=True, slots=True)
class AnchorCoding:
    """How a network of the RetinaFace family encodes faces relative to its anchors.

    Attributes:
        levels: in the order of the network's outputs.
        centre_variance: factor applied to shifts.
        size_variance: factor applied to the logarithm of size changes.
        end_pixel: 1.0 if a box's end coordinate is its last pixel, 0.0 if it is one past it.
    """

    levels: tuple[AnchorLevel, ...]
    centre_variance: float
    size_variance: float
    end_pixel: float

    def anchors(self, maps: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
        """Centre and side (x, y, side) of all anchors of feature maps (height, width): float32 [A, 3]."""
        parts = []
        for level, (height, width) in zip(self.levels, maps, strict=True):
            y = torch.arange(height, device=device) * level.stride + level.offset
            x = torch.arange(width, device=device) * level.stride + level.offset
            side = torch.tensor(level.sides, device=device, dtype=torch.float32)
            grid = torch.meshgrid(y, x, side, indexing="ij")
            parts.append(torch.stack([grid[1], grid[0], grid[2]], dim=-1).reshape(-1, 3))
        return torch.cat(parts)

    def decode_boxes(self, anchors: Tensor, deltas: Tensor) -> Tensor:
        """Decode anchors [M, 3] and deltas [M, 4] (shift of x, y; log change of width, height) to xyxy [M, 4]."""
        centre = anchors[:, :2] + deltas[:, :2] * self.centre_variance * anchors[:, 2:]
        half = ((deltas[:, 2:] * self.size_variance).exp() * anchors[:, 2:] - self.end_pixel) / 2
        return torch.cat([centre - half, centre + half], dim=1)

    def decode_landmarks(self, anchors: Tensor, deltas: Tensor) -> Tensor:
        """Decode anchors [M, 3] and deltas [M, 10] (five shifts of x and y) to points [M, 5, 2]."""
        shifts = deltas.view(-1, 5, 2) * self.centre_variance
        return anchors[:, None, :2] + shifts * anchors[:, None, 2:]


class AnchorOutputs(NamedTuple):
    """Outputs of a network for the A anchors of N images.

    Attributes:
        scores: face probabilities, float32 [N, A].
        box_deltas: float32 [N, A, 4].
        landmark_deltas: float32 [N, A, 10].
        maps: (height, width) of each level's feature map.
    """

    scores: Tensor
    box_deltas: Tensor
    landmark_deltas: Tensor
    maps: list[tuple[int, int]]


class AnchorNetwork(nn.Module):
    """A network of the RetinaFace family, with any backbone."""

    coding: ClassVar[AnchorCoding]

    @abstractmethod
    def resize_factor(self, height: int, width: int, *, enlarge: bool) -> float:
        """Factor by which to resize a frame for the network; above 1 only with `enlarge`."""

    @abstractmethod
    def forward(self, images: Tensor) -> AnchorOutputs:
        """Run on uint8 RGB images [N, H, W, 3]."""
