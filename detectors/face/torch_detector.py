"""Base class of the face detectors that run on torch."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facemill.detectors.device import resolve_device
from facemill.detectors.face.base import Detections, FaceDetector

__all__ = ["DetectionTensors", "TorchFaceDetector"]


class DetectionTensors(NamedTuple):
    """`Detections` as tensors on the detector's device."""

    frame: Tensor
    boxes: Tensor
    scores: Tensor
    landmarks: Tensor


class TorchFaceDetector(FaceDetector):
    """A face detector whose networks run on torch; a subclass implements `_detect_tensors`.

    Args:
        device: where the networks run.
    """

    def __init__(self, *, device: str | torch.device, max_side: int | None, min_score: float, batch: int) -> None:
        super().__init__(max_side=max_side, min_score=min_score, batch=batch)
        self.device = resolve_device(device)
        self.on_gpu = self.device.type != "cpu"

    @abstractmethod
    def _detect_tensors(self, frames: Sequence[NDArray[np.uint8]]) -> DetectionTensors:
        """Detect faces in 1 to `batch` RGB frames [H, W, 3] of equal size; called in inference mode."""

    def _detect_batch(self, frames: Sequence[NDArray[np.uint8]]) -> Detections:
        with torch.inference_mode():
            return Detections(*(field.cpu().numpy() for field in self._detect_tensors(frames)))
