"""Filters: which faces are not worth keeping. Each returns the reason to drop a face, or None to keep it."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.manifests import Reason
from facemill.pipeline.config.recipe import FilterSettings

__all__ = ["FILTERS", "reason_to_drop"]

Filter = Callable[[Face, NDArray[np.uint8], FilterSettings], Reason | None]


def too_small(face: Face, crop: NDArray[np.uint8], settings: FilterSettings) -> Reason | None:
    """Drop a face whose box is, on its shorter side, below `min_face` source pixels."""
    x1, y1, x2, y2 = face.bbox
    return Reason.TOO_SMALL if min(x2 - x1, y2 - y1) < settings.min_face else None


def blurred(face: Face, crop: NDArray[np.uint8], settings: FilterSettings) -> Reason | None:
    """Drop a crop whose Laplacian varies less than `min_sharpness` (Pech-Pacheco et al. 2000)."""
    if not settings.min_sharpness:
        return None
    sharpness = cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
    return Reason.BLURRED if sharpness < settings.min_sharpness else None


FILTERS: tuple[Filter, ...] = (too_small, blurred)


def reason_to_drop(face: Face, crop: NDArray[np.uint8], settings: FilterSettings) -> Reason | None:
    """The first filter's reason to drop a face; None to keep it."""
    return next((reason for keep in FILTERS if (reason := keep(face, crop, settings))), None)
