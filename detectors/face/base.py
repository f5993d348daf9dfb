"""Interface and output of face detectors, and the steps that all of them share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.options import Options

__all__ = ["Detections", "Face", "FaceDetector", "detection_side"]


GRID, SCORE_DIGITS = 64, 4
"""Boxes and landmarks are rounded to 1/64 pixel, scores to four digits.

The last bits of sums depend on a processor's vector width; without rounding, crops would differ between machines.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face, in pixels of the input frame.

    Attributes:
        bbox: float32 [4], x1, y1, x2, y2; may extend beyond the frame.
        score: confidence, 0..1.
        landmarks: float32 [5, 2], points (x, y): viewer-left eye, viewer-right eye, nose,
            viewer-left mouth corner, viewer-right mouth corner.
    """

    bbox: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The M faces in a batch of N frames of equal size, in pixels of those frames.

    Attributes:
        frame: int64 [M], position in the batch.
        boxes: float32 [M, 4], xyxy.
        scores: float32 [M].
        landmarks: float32 [M, 5, 2].
    """

    frame: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]


class FaceDetector(ABC):
    """Base class of the face detectors.

    A subclass implements `_detect_batch`, for frames of equal size, and `create`; this class shrinks frames, groups
    them by size, and maps detections back to source pixels. It does not import torch, so that networks may run on
    other runtimes (ONNX); detectors on torch subclass `TorchFaceDetector`.

    Args:
        max_side: frames whose longer side exceeds this are shrunk to it first; None to never shrink by this rule.
        min_score: faces with a lower score are dropped.
        batch: maximum frames per forward pass.

    Attributes:
        min_face: if `max_side` is None, frames are shrunk as far as faces with this shorter side (source pixels) are
            still detected; None for no shrinking.
        full_precision: compute in float32 on a GPU, too.
        most_pixels: maximum pixels per forward pass, lowered when a GPU's memory was full; None at first.
        halvings: how often that happened.
    """

    variants: ClassVar[tuple[str, ...]] = ()
    """Names that `create` accepts as `variant`, the default first; empty if there is no choice."""
    options_type: ClassVar[type[Options]] = Options
    """Options specific to this detector."""
    cpu_pixels: ClassVar[int]
    """Maximum pixels per forward pass on a CPU; bounds memory regardless of `batch`."""
    gpu_pixels: ClassVar[int]
    """As `cpu_pixels`, on a GPU."""
    smallest_face: float
    """Shorter side of the smallest faces detected as reliably as large ones, in pixels of the network's input."""

    on_gpu: bool = False

    def __init__(self, *, max_side: int | None, min_score: float, batch: int) -> None:
        self.max_side = max_side
        self.min_face: float | None = None
        self.full_precision = False
        self.most_pixels: int | None = None
        self.halvings = 0
        self.min_score = min_score
        self.batch = batch

    @classmethod
    @abstractmethod
    def create(
        cls,
        *,
        variant: str | None,
        weights: Path | None,
        device: str,
        max_side: int | None,
        min_score: float,
        batch: int,
        options: Any,
    ) -> Self:
        """Build the detector with its weights loaded.

        Args:
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            options: an instance of `options_type`.

        Raises:
            ConfigError: if this detector does not have an option.
            DetectorError: if the weights are missing or damaged.
        """

    @abstractmethod
    def _detect_batch(self, frames: Sequence[NDArray[np.uint8]]) -> Detections:
        """Detect faces in 1 to `batch` RGB frames [H, W, 3] of equal size."""

    def _pixels_seen(self, height: int, width: int) -> int:
        """Pixels of the network's input for a frame of this size."""
        return height * width

    def _side(self, height: int, width: int) -> int | None:
        """Longer side that larger frames are shrunk to; None for no limit."""
        if self.max_side is not None or self.min_face is None:
            return self.max_side
        return detection_side(height, width, self.min_face, self.smallest_face)

    def _passes(self, frames: Sequence[NDArray[np.uint8]]) -> Iterator[list[int]]:
        """Yield indices of frames of equal size, as many at a time as `batch` and memory allow."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, frame in enumerate(frames):
            by_size.setdefault(frame.shape[:2], []).append(index)
        for (height, width), indices in by_size.items():
            start = 0
            while start < len(indices):
                budget = self.most_pixels or (self.gpu_pixels if self.on_gpu else self.cpu_pixels)
                step = min(self.batch, max(1, budget // self._pixels_seen(height, width)))
                yield indices[start : start + step]
                start += step

    def detect(self, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[list[Face]]:
        """Find the faces of each frame.

        Args:
            frames: RGB [H, W, 3] each, whose sizes may differ; or an array [N, H, W, 3].

        Returns:
            For each frame its faces, highest score first; an empty list if there are none.

        Raises:
            ValueError: if a frame is not uint8 [H, W, 3].
        """
        for frame in frames:
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
                raise ValueError(f"A frame must be uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}.")
        shrunk = [_shrink(frame, self._side(*frame.shape[:2])) for frame in frames]
        faces: list[list[Face]] = [[] for _ in shrunk]
        for indices in self._passes(shrunk):
            found = self._detect_batch([shrunk[i] for i in indices])
            for position, face in _faces(found, self.min_score):
                index = indices[position]
                height, width = frames[index].shape[:2]
                faces[index].append(_rescale(face, width / shrunk[index].shape[1], height / shrunk[index].shape[0]))
        return faces


def detection_side(height: int, width: int, min_face: float, smallest_detectable: float) -> int:
    """Longer side to shrink a frame to, so that faces of `min_face` pixels become `smallest_detectable` pixels large.

    At most the frame's own longer side: frames are never enlarged.
    """
    longer = max(height, width)
    return longer if min_face <= smallest_detectable else math.ceil(longer * smallest_detectable / min_face)


def _shrink(frame: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return frame
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _faces(found: Detections, min_score: float) -> Iterator[tuple[int, Face]]:
    """Yield the faces of a batch with their frames' positions in it, highest score first."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= min_score]
    columns = (field[order] for field in (found.frame, found.boxes, found.scores, found.landmarks))
    for frame, box, score, landmarks in zip(*columns, strict=True):
        yield int(frame), Face(bbox=box, score=float(score), landmarks=landmarks)


def _rescale(face: Face, x_scale: float, y_scale: float) -> Face:
    """Scale a face to source pixels, rounded to `GRID` and `SCORE_DIGITS`."""
    scale = np.array([x_scale, y_scale], np.float32)
    corners, points = (
        (np.round(pixels * GRID) / GRID).astype(np.float32)
        for pixels in (face.bbox.reshape(2, 2) * scale, face.landmarks * scale)
    )
    return Face(bbox=corners.ravel(), score=round(face.score, SCORE_DIGITS), landmarks=points)
