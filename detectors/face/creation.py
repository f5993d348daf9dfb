"""Creation of face detectors by name and options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facemill.detectors.face.base import FaceDetector
from facemill.options import check_options
from facemill.registry import FACE_DETECTORS

__all__ = ["create"]


def create(
    name: str,
    *,
    device: str = "auto",
    variant: str | None = None,
    weights: str | Path | None = None,
    max_side: int | None = None,
    min_face: float | None = None,
    min_score: float = 0.9,
    batch: int = 32,
    full_precision: bool = False,
    options: Mapping[str, Any] | None = None,
) -> FaceDetector:
    """Build a face detector with its weights loaded.

    Examples:
        >>> detector = facemill.create_face_detector("mtcnn", device="cpu", max_side=640)
        >>> detector.detect(np.zeros((1, 360, 640, 3), np.uint8))
        [[]]

    Args:
        name: one of `registry.FACE_DETECTORS`.
        device: where it runs; `auto` is a GPU if there is one.
        variant: one of the detector's `variants`; None for the first.
        weights: weights file; None for the one that the detector's package contains or downloads.
        max_side: frames whose longer side exceeds this are shrunk to it for detection; None to never shrink.
        min_face: without `max_side`, frames are shrunk as far as faces with this shorter side are still detected.
        min_score: faces with a lower score are dropped.
        batch: maximum frames per forward pass.
        full_precision: compute in float32 on a GPU, too, instead of TensorFloat-32 or half precision.
        options: see the detector's `options_type`.

    Raises:
        ConfigError: if a name, variant, option or device is unknown.
        DetectorError: if the weights are missing or damaged.
    """
    kind = FACE_DETECTORS[name]
    detector = kind.create(
        variant=variant,
        weights=None if weights is None else Path(weights),
        device=device,
        max_side=max_side,
        min_score=min_score,
        batch=batch,
        options=check_options(name, kind.options_type, options or {}),
    )
    detector.min_face, detector.full_precision = min_face, full_precision
    return detector
