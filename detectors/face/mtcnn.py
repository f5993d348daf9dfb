"""MTCNN: facenet-pytorch's networks and weights in a cascade without loops over boxes.

Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks"
(2016). All frames of equal size go through the pyramid together; the candidates of all frames and
scales are cropped, classified and suppressed together. Results agree with `facenet_pytorch.MTCNN.detect`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from facemill import ConfigError
from facemill.detectors.face.area_sampling import AreaSampler
from facemill.detectors.face.mtcnn_networks import ProposalNetwork, RefinementNetwork
from facemill.detectors.face.suppression import suppress_contained, suppress_overlapping
from facemill.detectors.face.torch_detector import DetectionTensors, TorchFaceDetector
from facemill.options import Options, Probability

__all__ = ["MTCNN", "MTCNNOptions"]

Network = TypeVar("Network", bound=nn.Module)

CELL, STRIDE = 12, 2
"""Receptive field of one output cell of P-Net, and the step between cells, in pixels of its input."""

# Maximum pixels per strip of a pyramid level, and crops per batch, by their side. On a CPU they are bounded by the
# cache (beyond it, each layer is slower by half), on a GPU by memory.
CPU_STRIP, GPU_STRIP = 1 << 17, 1 << 24
CPU_CROPS, GPU_CROPS = {24: 256, 48: 64}, 8192


class MTCNNOptions(Options):
    """Options of `MTCNN`, named as in facenet-pytorch."""

    min_face_size: Annotated[int, Field(ge=CELL, le=8192)] = 20
    """Side of the smallest face to search for, pixels of the (shrunk) frame."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.709
    """Ratio between consecutive scales of the pyramid."""
    thresholds: tuple[Probability, Probability, Probability] = (0.6, 0.7, 0.7)
    """Minimum score after P-Net, R-Net and O-Net; faces below the last are dropped regardless of `min_score`."""


class MTCNN(TorchFaceDetector):
    """Cascade of three networks, each classifying the candidates that the previous one kept."""

    options_type = MTCNNOptions
    cpu_pixels: ClassVar = 1 << 21
    gpu_pixels: ClassVar = 1 << 26

    def __init__(self, *, options: MTCNNOptions | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.options = options or MTCNNOptions()
        self.smallest_face = float(self.options.min_face_size)
        self._propose = _place(ProposalNetwork(), self.device)
        self._refine = _place(RefinementNetwork("rnet", (3, 3)), self.device)
        self._output = _place(RefinementNetwork("onet", (3, 3, 2)), self.device)

    @classmethod
    def create(cls, *, variant: str | None, weights: Path | None, options: MTCNNOptions, **settings: Any) -> Self:
        if variant is not None:
            raise ConfigError(f"mtcnn has no variant {variant!r}: leave detect.variant out.")
        if weights is not None:
            raise ConfigError("mtcnn comes with its weights: leave detect.weights out.")
        return cls(options=options, **settings)

    def _detect_tensors(self, frames: Sequence[NDArray[np.uint8]]) -> DetectionTensors:
        sampler = AreaSampler(frames, self.device)
        frame, boxes = self._proposals(sampler)
        frame, boxes = self._refined(sampler, frame, boxes)
        return self._final(sampler, frame, boxes)

    def _proposals(self, sampler: AreaSampler) -> tuple[Tensor, Tensor]:
        """Run the first stage; return the frame [M] and square box [M, 4] of each candidate, over all scales."""
        scales = pyramid_scales(sampler.height, sampler.width, self.options.min_face_size, self.options.factor)
        found = [self._proposals_at(sampler, scale) for scale in scales]
        if not found:
            return torch.empty(0, dtype=torch.long, device=self.device), torch.empty(0, 4, device=self.device)
        level = torch.cat([torch.full_like(frame, i) for i, (frame, *_) in enumerate(found)])
        frame, boxes, logits, offsets = (torch.cat(column) for column in zip(*found, strict=True))
        keep = suppress_overlapping(boxes, logits, frame * len(scales) + level, 0.5)  # within each scale
        frame, boxes, logits, offsets = frame[keep], boxes[keep], logits[keep], offsets[keep]
        keep = suppress_overlapping(boxes, logits, frame, 0.7)  # across scales
        frame, boxes, offsets = frame[keep], boxes[keep], offsets[keep]
        sides = boxes[:, 2:] - boxes[:, :2]
        return frame, _square(boxes + offsets * sides.repeat(1, 2))

    def _proposals_at(self, sampler: AreaSampler, scale: float) -> tuple[Tensor, ...]:
        """Frame [M], box [M, 4], logit [M] and box offsets [M, 4] of the cells that pass P-Net's threshold."""
        height, width = int(sampler.height * scale + 1), int(sampler.width * scale + 1)
        pixels = CPU_STRIP if self.device.type == "cpu" else GPU_STRIP
        step = STRIDE * max(1, pixels // (STRIDE * width * len(sampler)))
        parts = []
        for first in range(0, height - CELL + 1, step):
            # Consecutive strips overlap, since a cell's receptive field is larger than the stride.
            rows = range(first, min(first + step + CELL - STRIDE, height))
            logits, features = self._propose(sampler.resize(height, width, rows))
            frame, row, column = (logits >= _logit(self.options.thresholds[0])).nonzero(as_tuple=True)
            cell = torch.stack([column, row + first // STRIDE], dim=1).float()
            boxes = torch.cat([(STRIDE * cell + 1) / scale, (STRIDE * cell + CELL) / scale], dim=1).floor()
            offsets = self._propose.regress(features[frame, row, column])
            parts.append((frame, boxes, logits[frame, row, column], offsets))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _refined(self, sampler: AreaSampler, frame: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Run the second stage; return the candidates that R-Net accepts, moved by its regression."""
        kept, scores, offsets = self._classify(self._refine, 24, self.options.thresholds[1], sampler, frame, boxes)
        frame, boxes = frame[kept], boxes[kept]
        keep = suppress_overlapping(boxes, scores, frame, 0.7)
        return frame[keep], _square(_regress(boxes[keep], offsets[keep]))

    def _final(self, sampler: AreaSampler, frame: Tensor, boxes: Tensor) -> DetectionTensors:
        """Run the third stage; return O-Net's boxes, scores and landmarks."""
        kept, scores, regression = self._classify(self._output, 48, self.options.thresholds[2], sampler, frame, boxes)
        frame, boxes = frame[kept], boxes[kept]
        offsets, points = regression[:, :4], regression[:, 4:].reshape(-1, 2, 5).mT  # [M, 5, 2]
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        landmarks = points * sides[:, None] + boxes[:, None, :2] - 1
        boxes = _regress(boxes, offsets)
        keep = suppress_contained(boxes, scores, frame, 0.7)
        return DetectionTensors(frame[keep], boxes[keep], scores[keep], landmarks[keep])

    def _classify(
        self,
        network: RefinementNetwork,
        size: int,
        threshold: float,
        sampler: AreaSampler,
        frame: Tensor,
        boxes: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Crop the candidates [K] to squares of `size` and keep those that a network scores above the threshold.

        Returns:
            Their indices [M], scores [M] and the network's regressions [M, 4 or 14].
        """
        edges = _pixel_edges(boxes, sampler.width, sampler.height)
        visible = (edges[:, 2:] > edges[:, :2]).all(dim=1).nonzero().squeeze(1)
        step = CPU_CROPS[size] if self.device.type == "cpu" else GPU_CROPS
        outputs = [network(sampler.crop(frame[block], edges[block], size)) for block in torch.split(visible, step)]
        scores, regressions = (torch.cat(column) for column in zip(*outputs, strict=True))
        keep = scores > threshold
        return visible[keep], scores[keep], regressions[keep]


def pyramid_scales(height: int, width: int, min_face_size: int, factor: float) -> list[float]:
    """Scales at which faces of `min_face_size` and larger match P-Net's receptive field, largest scale first."""
    scales = []
    scale, side = CELL / min_face_size, min(height, width) * CELL / min_face_size
    while side >= CELL:
        scales.append(scale)
        scale, side = scale * factor, side * factor
    return scales


def _place(network: Network, device: torch.device) -> Network:
    return network.to(device).to(memory_format=torch.channels_last).eval()


def _logit(probability: float) -> float:
    return float(torch.tensor(probability, dtype=torch.float64).logit())  # infinite at 0 and 1


def _regress(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Move boxes [M, 4] by offsets [M, 4] in units of box sides, which count both end pixels."""
    return boxes + offsets * (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """Widen boxes [M, 4] about their centres to squares of the longer side."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _pixel_edges(boxes: Tensor, width: int, height: int) -> Tensor:
    """Pixel edges of boxes [M, 4], clipped to the frame, int64 [M, 4]; the original counts pixels from 1."""
    low = boxes[:, :2].trunc().clamp(min=1) - 1
    limit = torch.tensor([width, height], device=boxes.device)
    return torch.cat([low, boxes[:, 2:].trunc().minimum(limit)], dim=1).long()
