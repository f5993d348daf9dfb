"""Filters: which faces to drop."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from facemill.detectors.face import Face
from facemill.manifests import Reason
from facemill.options import Configurable, Options, create_all
from facemill.pipeline.config.sections import FilterSettings
from facemill.registry import FILTERS

__all__ = [
    "Blurred",
    "BlurredOptions",
    "Filter",
    "TooSmall",
    "TooSmallOptions",
    "create_filters",
    "reason_to_drop",
    "sharpness",
]


class Filter(Configurable, ABC):
    """Decides whether to keep a face, from its detection and its crop."""

    @abstractmethod
    def reason(self, face: Face, crop: NDArray[np.uint8]) -> Reason | None:
        """Reason to drop a face (`Reason.FILTERED` if no other fits); None to keep it.

        Args:
            face: in pixels of the source frame.
            crop: RGB [size, size, 3].
        """


class TooSmallOptions(Options):
    """Options of `TooSmall`."""

    min_face: Annotated[float, Field(ge=0)] = 40.0
    """Shorter side of the face box, source pixels."""


class TooSmall(Filter):
    """Drops a face whose box is too small."""

    options_type = TooSmallOptions

    def reason(self, face: Face, crop: NDArray[np.uint8]) -> Reason | None:
        x1, y1, x2, y2 = face.bbox
        return Reason.TOO_SMALL if min(x2 - x1, y2 - y1) < self.options.min_face else None


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of the gray crop (Pech-Pacheco et al. 2000).

    Args:
        crop: RGB [size, size, 3].
    """
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


class BlurredOptions(Options):
    """Options of `Blurred`."""

    min_sharpness: Annotated[float, Field(ge=0)] = 0.0
    """Variance of the Laplacian of the gray crop; with 0 nothing is computed or dropped."""


class Blurred(Filter):
    """Drops a crop whose `sharpness` is too low."""

    options_type = BlurredOptions

    def reason(self, face: Face, crop: NDArray[np.uint8]) -> Reason | None:
        if not self.options.min_sharpness:
            return None
        return Reason.BLURRED if sharpness(crop) < self.options.min_sharpness else None


def create_filters(settings: FilterSettings) -> list[Filter]:
    """Create the filters of a recipe, in the order in which they are applied.

    Raises:
        ConfigError: for an unknown filter, option or value.
    """
    wanted: dict[str, dict[str, Any]] = {
        "too_small": {"min_face": settings.min_face},
        "blurred": {"min_sharpness": settings.min_sharpness},
        **settings.more,
    }
    return [*create_all(FILTERS, wanted).values()]


def reason_to_drop(face: Face, crop: NDArray[np.uint8], filters: Iterable[Filter]) -> Reason | None:
    """Reason to drop a face, from the first filter that gives one; None to keep it."""
    return next((reason for each in filters if (reason := each.reason(face, crop))), None)
