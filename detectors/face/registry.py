"""The face detectors by name."""

from pathlib import Path

import torch

from facemill import ConfigError
from facemill.detectors.face.base import FaceDetector, resolve_device

__all__ = ["available", "create", "register", "variants"]

_DETECTORS: dict[str, type[FaceDetector]] = {}


def register(name: str, detector: type[FaceDetector]) -> None:
    """Make a detector known to `create`.

    Raises:
        ValueError: where the name is taken.
    """
    if name in _DETECTORS:
        raise ValueError(f"There is a face detector {name!r} already: choose another name.")
    _DETECTORS[name] = detector


def available() -> list[str]:
    """Names of the registered face detectors, sorted."""
    return sorted(_DETECTORS)


def variants(name: str) -> tuple[str, ...]:
    """The variants of a detector, the default first; empty where there is no choice.

    Raises:
        ConfigError: for an unknown detector.
    """
    return _find(name).variants


def create(
    name: str,
    *,
    device: str | torch.device = "auto",
    variant: str | None = None,
    weights: str | Path | None = None,
    max_side: int | None = None,
    min_face: float | None = None,
    min_score: float = 0.9,
    batch: int = 32,
) -> FaceDetector:
    """Build a face detector with its weights loaded.

    >>> detector = facemill.create_face_detector("mtcnn", device="cpu", max_side=640)
    >>> detector.detect(np.zeros((1, 360, 640, 3), np.uint8))
    [[]]

    Args:
        name: one of `available()`.
        device: where it runs; `auto` is a GPU where there is one.
        variant: one of `variants(name)`; None for the first.
        weights: weights file; None for the one that comes with, or is fetched by, the detector's package.
        max_side: frames whose longer side exceeds this are shrunk to it for detection; None for never.
        min_face: without `max_side`, frames are shrunk as far as faces of this shorter side are still found.
        min_score: faces with a lower score are dropped.
        batch: frames a forward pass, at most.

    Raises:
        ConfigError: for an unknown name, variant or device.
        DetectorError: for weights that are missing or damaged.
    """
    detector = _find(name).create(
        variant=variant,
        weights=None if weights is None else Path(weights),
        device=resolve_device(device),
        max_side=max_side,
        min_score=min_score,
        batch=batch,
    )
    detector.min_face = min_face
    return detector


def _find(name: str) -> type[FaceDetector]:
    if name not in _DETECTORS:
        raise ConfigError(f"There is no face detector {name!r}: say one of {', '.join(available())}.")
    return _DETECTORS[name]
