"""Cropper: holds faces until it is known which of them are kept, then crops and filters those."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.manifests import Reason
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.decode import Frame
from facemill.pipeline.extract.crop import crop_image, moved, source_part
from facemill.pipeline.extract.filters import Filter, reason_to_drop

__all__ = ["Crop", "Cropper", "Key"]

Key = tuple[int, int]
"""Position among the clip's samples, and track id."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A face in a frame, which is cropped once it is known that it is kept.

    Attributes:
        source: RGB [h, w, 3], the frame or the part of it that the crop is interpolated from; `NO_IMAGE` afterwards.
        corner: left and top of `source` in the frame, pixels.
    """

    position: int
    track_id: int
    frame_index: int
    pts_s: float
    face: Face
    affine: NDArray[np.float64]
    source: NDArray[np.uint8]
    corner: tuple[int, int] = (0, 0)


class Cropper:
    """Crops the faces of one clip. Cropping is dear, and of several people most may go.

    Args:
        size: side of the crops, pixels.
        repeat_edge: see `crop_image`.
    """

    def __init__(self, size: int, repeat_edge: bool, filters: Sequence[Filter], watch: Stopwatch) -> None:
        self._size, self._repeat_edge, self._filters, self._watch = size, repeat_edge, filters, watch
        self._dropped: dict[Key, Reason | None] = {}
        self._cropped: dict[Key, NDArray[np.uint8]] = {}
        """Pixels of faces whose decision another video has asked for."""

    def hold(
        self, frame: Frame, position: int, faces: Sequence[tuple[int, Face, NDArray[np.float64]]], *, copied: bool
    ) -> Iterator[Crop]:
        """Yield what is needed to crop the faces of a frame later.

        Args:
            faces: track id, face and affine of each.
            copied: hold copies of the faces' surroundings rather than the frame, unless they amount to half of it.
        """
        image = frame.image
        assert image is not None
        parts = [source_part(affine, self._size, image.shape) for _, _, affine in faces] if copied else []
        if 2 * sum(image[part].nbytes for part in parts) >= image.nbytes:
            parts = []  # frame and copies together would be the peak of a worker's memory
        for number, (track_id, face, affine) in enumerate(faces):
            source, corner = image, (0, 0)
            if parts:
                rows, columns = parts[number]
                source, corner = image[rows, columns].copy(), (columns.start, rows.start)
            yield Crop(position, track_id, frame.index, frame.pts_s, face, affine, source, corner)

    def filtered(self, crop: Crop, first: Crop) -> NDArray[np.uint8] | Reason:
        """Return the pixels [S, S, 3] of a face, or the filters' reason to drop it.

        Args:
            first: the same face in the lead, whose filters decide for all videos; the face itself if there is no lead.
        """
        key = crop.position, crop.track_id
        if key not in self._dropped:
            image = self._crop(first)
            self._dropped[key] = reason_to_drop(first.face, image, self._filters)
            if self._dropped[key] is None:
                self._cropped[key] = image
        if (reason := self._dropped[key]) is not None:
            return reason
        return self._cropped.pop(key) if crop is first and key in self._cropped else self._crop(crop)

    def forget(self) -> None:
        """Forget pixels that were not asked for: their window is over."""
        self._cropped.clear()

    def _crop(self, crop: Crop) -> NDArray[np.uint8]:
        # From the same part of the frame whatever is held of it: rounding depends on the part.
        with self._watch("crop"):
            here = moved(crop.affine, *crop.corner)
            rows, columns = source_part(here, self._size, crop.source.shape)
            here = moved(here, columns.start, rows.start)
            return crop_image(crop.source[rows, columns], here, self._size, repeat_edge=self._repeat_edge)
