"""Framing: position and size of a face's crop, by one rule per track, the same in the real video and its fakes."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.pipeline.config.sections import CropSettings
from facemill.pipeline.extract.crop import align_affine, square_affine

__all__ = ["Framing", "relative_box"]

Box = NDArray[np.floating]


def relative_box(box: Box, face: Face) -> NDArray[np.float64]:
    """Convert a box (xyxy) to coordinates relative to the centre of a face's box, in units of its longer side."""
    side, centre = _side_and_centre(face)
    return (np.asarray(box, np.float64) - np.tile(centre, 2)) / side


class Framing:
    """Computes the affine of each face's crop.

    Args:
        forged: by track, boxes of the forged regions, relative to the face's box (`relative_box`), over all frames
            and fakes of the clip. If the recipe crops around masks, their median sets the centre and the size of
            every crop of the track, so that the ratio of crop to face is constant within a track.
    """

    def __init__(self, settings: CropSettings, forged: Mapping[int, Iterable[NDArray[np.float64]]]) -> None:
        self._settings = settings
        self._regions = {track: np.median(np.stack([*boxes]), axis=0) for track, boxes in forged.items()}

    def affine(self, track_id: int, face: Face) -> NDArray[np.float64]:
        """Affine [2, 3] from pixels of the frame to pixels of the crop."""
        if (region := self._regions.get(track_id)) is not None:
            side, centre = _side_and_centre(face)
            return square_affine((region * side + np.tile(centre, 2)).astype(np.float32), self._settings)
        if self._settings.align == "similarity":
            return align_affine(face.landmarks, self._settings)
        return square_affine(face.bbox, self._settings)


def _side_and_centre(face: Face) -> tuple[float, NDArray[np.float64]]:
    box = face.bbox.astype(np.float64)
    return max(float((box[2:] - box[:2]).max()), 1e-3), (box[:2] + box[2:]) / 2
