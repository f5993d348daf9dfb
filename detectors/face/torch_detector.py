"""Base class of the face detectors that run on torch."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
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

    def __init__(
        self, *, device: str | torch.device, max_side: int | None = None, min_score: float = 0.9, batch: int = 32
    ) -> None:
        super().__init__(max_side=max_side, min_score=min_score, batch=batch)
        self.device = resolve_device(device)
        self.on_gpu = self.device.type != "cpu"

    @abstractmethod
    def _detect_tensors(self, frames: Sequence[NDArray[np.uint8]]) -> DetectionTensors:
        """Detect faces in 1 to `batch` RGB frames [H, W, 3] of equal size; called in inference mode."""

    def _detect_batch(self, frames: Sequence[NDArray[np.uint8]]) -> Detections:
        """As in `FaceDetector`; a batch that does not fit into the GPU's memory is halved, and so are later ones.

        Raises:
            torch.OutOfMemoryError: if not even one frame fits.
        """
        try:
            with torch.inference_mode(), _full_precision() if self.full_precision else nullcontext():
                return Detections(*(field.cpu().numpy() for field in self._detect_tensors(frames)))
        except torch.OutOfMemoryError:
            if len(frames) == 1:
                raise
        # Outside of the handler, whose traceback keeps the tensors of the failed pass.
        torch.cuda.empty_cache()
        half = (len(frames) + 1) // 2
        self.halvings += 1
        pixels = half * self._pixels_seen(*frames[0].shape[:2])
        self.most_pixels = min(self.most_pixels or pixels, pixels)
        first, second = self._detect_batch(frames[:half]), self._detect_batch(frames[half:])
        return Detections(
            np.concatenate([first.frame, second.frame + half]),
            np.concatenate([first.boxes, second.boxes]),
            np.concatenate([first.scores, second.scores]),
            np.concatenate([first.landmarks, second.landmarks]),
        )


@contextmanager
def _full_precision() -> Iterator[None]:
    """Within this context, convolutions on a GPU do not round to TensorFloat-32, as PyTorch's do by default."""
    cudnn = torch.backends.cudnn
    before, cudnn.allow_tf32 = cudnn.allow_tf32, False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before
