"""RetinaFace: a single-stage detector, with anchors, decoding and suppression batched on the device."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facemill import ConfigError
from facemill.detectors.face.anchors import AnchorNetwork
from facemill.detectors.face.retinaface_mobilenet import load_mobilenet
from facemill.detectors.face.retinaface_resnet50 import load_resnet50
from facemill.detectors.face.suppression import suppress_overlapping
from facemill.detectors.face.torch_detector import DetectionTensors, TorchFaceDetector
from facemill.options import Options

__all__ = ["RetinaFace"]

NMS_THRESHOLD = 0.4


_LOADERS: dict[str, Callable[[Path | None], AnchorNetwork]] = {
    "resnet50": load_resnet50,
    "mobilenet0.25": load_mobilenet,
}


class RetinaFace(TorchFaceDetector):
    """RetinaFace with either backbone.

    With `max_side` or `min_face` set, frames are never enlarged; without them, frames are resized as the network's
    own package does, which for ResNet-50 is to more than 720p.

    Args:
        network: with its weights loaded.
        settings: of `TorchFaceDetector`.
    """

    variants: ClassVar = tuple(_LOADERS)
    cpu_pixels: ClassVar = 1 << 20
    gpu_pixels: ClassVar = 1 << 24
    smallest_face = 24.0

    def __init__(self, network: AnchorNetwork, **settings: Any) -> None:
        super().__init__(**settings)
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()

    @classmethod
    def create(cls, *, variant: str | None, weights: Path | None, options: Options, **settings: Any) -> Self:
        name = variant or cls.variants[0]
        if name not in _LOADERS:
            raise ConfigError(f"retinaface has no variant {name!r}: choose one of {', '.join(cls.variants)}.")
        return cls(_LOADERS[name](weights), **settings)

    def _scale(self, height: int, width: int) -> float:
        """Factor by which frames are resized for the network."""
        scale = self.network.resize_factor(height, width, enlarge=self.max_side is None and self.min_face is None)
        return scale if min(height, width) * scale >= 1 else 1.0

    def _pixels_seen(self, height: int, width: int) -> int:
        return math.ceil(height * width * self._scale(height, width) ** 2)

    def _detect_tensors(self, frames: Sequence[NDArray[np.uint8]]) -> DetectionTensors:
        height, width = frames[0].shape[:2]
        scale = self._scale(height, width)
        images = np.stack([_resize(frame, scale) for frame in frames])
        found = self.propose(torch.from_numpy(images).to(self.device))
        boxes = found.boxes / scale
        # The original suppression counts both end pixels of a box, in frame pixels.
        keep = suppress_overlapping(boxes + boxes.new_tensor([0, 0, 1, 1]), found.scores, found.frame, NMS_THRESHOLD)
        return DetectionTensors(found.frame[keep], boxes[keep], found.scores[keep], found.landmarks[keep] / scale)

    def propose(self, images: Tensor) -> DetectionTensors:
        """Decode every anchor of images [N, H, W, 3] that scores at least `min_score`, without suppression."""
        halved = self.device.type == "cuda" and not self.full_precision
        with torch.autocast("cuda", dtype=_half_precision(), enabled=halved):
            scores, box_deltas, landmark_deltas, maps = self.network(images)
        coding = self.network.coding
        frame, anchor = (scores >= self.min_score).nonzero(as_tuple=True)
        anchors = coding.anchors(maps, self.device)[anchor]
        boxes = coding.decode_boxes(anchors, box_deltas[frame, anchor])
        height, width = images.shape[1:3]
        limit = boxes.new_tensor([width, height]).repeat(2) - coding.end_pixel
        return DetectionTensors(
            frame=frame,
            boxes=boxes.clamp(min=0).minimum(limit),
            scores=scores[frame, anchor],
            landmarks=coding.decode_landmarks(anchors, landmark_deltas[frame, anchor]),
        )


def _half_precision() -> torch.dtype:
    """Return bfloat16, which does not overflow, if the GPU supports it natively."""
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def _resize(frame: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return frame
    return np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), np.uint8)
