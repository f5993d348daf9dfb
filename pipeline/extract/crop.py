"""Cropping: one affine per face, the same for the real frame, its fakes and their masks.

Coordinates follow `facemill.manifests.records`: a box consists of edges and the centre of the top-left
pixel is (0.5, 0.5), so a crop of side S spans [0, S] and an affine needs no half-pixel corrections.
"""

import math
from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.pipeline.config.sections import CropSettings

__all__ = [
    "Framing",
    "align_affine",
    "crop_image",
    "crop_mask",
    "mask_box",
    "moved",
    "pixel_centred",
    "relative_box",
    "source_part",
    "square_affine",
]

Box = NDArray[np.floating]

# Positions of eyes, nose and mouth corners of an upright adult face in a unit square around the face box: ArcFace's
# 112-pixel template for face recognition, which is a tight face box.
TEMPLATE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]) / 112.0

SURROUNDINGS = 2.0
"""Side of the square around a face within which forged regions belong to it, in sides of the face box."""
SMALLEST = 0.25
"""Longer side of a forged region, in sides of the face box, below which it counts as noise: a mouth has 0.4."""
REACH = 3
"""Pixels about a point of the frame that interpolation takes into account, with room for rounding."""
FINEST = 8
"""Largest oversampling factor; bounds the memory for a crop much larger than any face."""


def square_affine(box: NDArray[np.float32], settings: CropSettings) -> NDArray[np.float64]:
    """Affine [2, 3] that maps the square around a box to the crop.

    The square is centred on the box (xyxy, source pixels); its side is the box's longer side times
    `scale`. It may extend beyond the frame, where the crop is black.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    side = max(x2 - x1, y2 - y1, 1e-3) * settings.scale
    zoom = settings.size / side
    left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    return np.array([[zoom, 0.0, -left * zoom], [0.0, zoom, -top * zoom]])


def align_affine(landmarks: NDArray[np.float32], settings: CropSettings) -> NDArray[np.float64]:
    """Similarity [2, 3] that brings five landmarks [5, 2] closest to the template (Umeyama 1991, least squares).

    The template is shrunk around the crop's centre by `scale`, so that `scale` defines the margin as it does for boxes.
    """
    points = landmarks.astype(np.float64)
    target = ((TEMPLATE - 0.5) / settings.scale + 0.5) * settings.size
    centre, goal = points.mean(axis=0), target.mean(axis=0)
    x, y = (points - centre).T
    u, v = (target - goal).T
    # A similarity without reflection is (a -b; b a): both unknowns follow from one least-squares step.
    spread = max(float((x * x + y * y).sum()), 1e-9)
    a, b = float((x * u + y * v).sum()) / spread, float((x * v - y * u).sum()) / spread
    if math.hypot(a, b) < 1e-9:  # all landmarks coincide: no scale is defined
        a = 1.0
    rotation = np.array([[a, -b], [b, a]])
    return np.hstack([rotation, (goal - rotation @ centre)[:, None]])


def mask_box(mask: NDArray[np.uint8], face: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Bounding box (xyxy edges, pixels) of a face's forged region.

    This is the largest connected region of a mask [H, W] within the surroundings of the face box (xyxy). None if
    there is none above noise size.
    """
    side = float(max(face[2] - face[0], face[3] - face[1]))
    centre = (face[:2] + face[2:]) / 2
    height, width = mask.shape
    left, top = np.clip(np.rint(centre - SURROUNDINGS * side / 2).astype(int), 0, (width, height))
    right, bottom = np.clip(np.rint(centre + SURROUNDINGS * side / 2).astype(int), 0, (width, height))
    if right <= left or bottom <= top:
        return None
    count, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask[top:bottom, left:right]))
    if count == 1:  # background only
        return None
    x, y, wide, high, _ = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    if max(wide, high) < SMALLEST * side:
        return None
    return np.array([left + x, top + y, left + x + wide, top + y + high], np.float32)


def crop_image(
    frame: NDArray[np.uint8], affine: NDArray[np.float64], size: int, *, repeat_edge: bool = False
) -> NDArray[np.uint8]:
    """Take the crop [size, size, 3] from a frame [H, W, 3]; it is black beyond the frame.

    Source pixels are interpolated once. When shrinking, the crop is sampled at `n` times its size, at or above the
    frame's own resolution, and each n x n block is averaged to avoid aliasing; when enlarging, interpolation is cubic.

    Args:
        repeat_edge: repeat the frame's edge instead of black, which would darken a crop that ends at the frame's edge.
    """
    zoom = float(np.hypot(affine[0, 0], affine[1, 0]))
    finer = min(max(1, math.ceil(1 / zoom - 1e-6)), FINEST)
    flags = cv2.INTER_LINEAR if finer > 1 else cv2.INTER_CUBIC
    side = size * finer
    border = cv2.BORDER_REPLICATE if repeat_edge else cv2.BORDER_CONSTANT
    shifted = pixel_centred(affine * finer)
    crop: NDArray[np.uint8] = cv2.warpAffine(frame, shifted, (side, side), flags=flags, borderMode=border)
    return crop if finer == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def source_part(affine: NDArray[np.float64], size: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a frame [H, W, …] from which `crop_image` interpolates the crop: one pixel at least."""
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    points = (corners - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    last = np.array([shape[1] - 1, shape[0] - 1])
    left, top = np.clip(np.floor(points.min(axis=0)).astype(int) - REACH, 0, last)
    right, bottom = np.clip(np.ceil(points.max(axis=0)).astype(int) + REACH, 1, last + 1)
    return slice(top, max(top + 1, bottom)), slice(left, max(left + 1, right))


def crop_mask(mask: NDArray[np.uint8], affine: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Take the crop [size, size] from a mask [H, W] by nearest neighbour; it is 0 beyond the frame."""
    crop: NDArray[np.uint8] = cv2.warpAffine(mask, pixel_centred(affine), (size, size), flags=cv2.INTER_NEAREST)
    return crop


def moved(affine: NDArray[np.float64], left: int, top: int) -> NDArray[np.float64]:
    """The same map from the pixels of a part of the frame that begins at (left, top)."""
    shifted = affine.copy()
    shifted[:, 2] += affine[:, :2] @ [left, top]
    return shifted


def pixel_centred(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map in OpenCV's coordinates, in which the centre of the first pixel is (0, 0)."""
    shifted = affine.copy()
    shifted[:, 2] += affine[:, :2].sum(axis=1) * 0.5 - 0.5
    return shifted


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

    def fits(self, track_id: int) -> bool:
        """Whether the track's crops are framed as the recipe says: around masks, a track needs a forged region."""
        return self._settings.around == "face" or track_id in self._regions

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
