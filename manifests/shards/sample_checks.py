"""What must be true of one sample by itself: its picture, its mask and its affine.

Each check returns sentences about what is wrong, none for a sound sample, whatever bytes it is given.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.manifests.records import MaskKind, SampleRecord
from facemill.manifests.shards.base import EncodedSample

__all__ = ["CropRules", "check_sample"]

HALF_PIXEL = 0.5
"""How far outside the crop a point may be mapped, in crop pixels."""
SIMILARITY = 1e-4
"""How far a similarity's matrix may be from (a -b; b a), as a share of its scale."""
COVERAGE = 1e-6
"""Rounding of a share of pixels to float32."""


@dataclass(frozen=True, slots=True)
class CropRules:
    """What the recipe promises of every crop.

    Attributes:
        size: side of the crop, pixels.
        holds: what of the face box lies in the crop: all of it, at least its centre, or some part.
    """

    size: int
    holds: Literal["box", "centre", "part"]


def check_sample(sample: EncodedSample, rules: CropRules) -> Iterator[str]:
    """Everything that is wrong with a sample, a sentence each."""
    record = sample.record
    if record.crop_size != rules.size:
        yield f"crop_size is {record.crop_size}, the recipe's is {rules.size}"
    yield from _check_image(sample, rules.size)
    yield from _check_mask(sample, rules.size)
    yield from _check_affine(record, rules)


def _check_image(sample: EncodedSample, size: int) -> Iterator[str]:
    if hashlib.sha256(sample.image).hexdigest() != sample.record.image_sha256:
        yield "the picture's sha256 is not the recorded one"
    image = _decoded(sample.image)
    if image is None:
        yield "the picture cannot be decoded"
    elif image.shape != (size, size, 3) or image.dtype != np.uint8:
        yield f"the picture is {_shape(image)}, not {size} x {size} with 3 channels of uint8"


def _check_mask(sample: EncodedSample, size: int) -> Iterator[str]:
    record, mask = sample.record, _decoded(sample.mask)
    if mask is None:
        yield "the mask cannot be decoded"
        return
    if mask.shape != (size, size) or mask.dtype != np.uint8:
        yield f"the mask is {_shape(mask)}, not {size} x {size} with 1 channel of uint8"
        return
    forged = mask == 255
    if not np.all(forged | (mask == 0)):
        yield "the mask has other values than 0 and 255"
    if (record.label == 0) != (record.mask_kind is MaskKind.ZEROS):
        yield f"mask_kind is {record.mask_kind} for label {record.label}"
    if record.mask_kind in (MaskKind.ZEROS, MaskKind.NONE) and mask.any():
        yield f"the mask is not all zero, as it must be where mask_kind is {record.mask_kind}"
    coverage = None if record.mask_kind is MaskKind.NONE else float(forged.mean())
    if not _close(record.mask_coverage, coverage):
        yield f"mask_coverage is {_rounded(record.mask_coverage)}, and the mask's is {_rounded(coverage)}"


def _close(recorded: float | None, actual: float | None) -> bool:
    if recorded is None or actual is None:
        return recorded is actual
    return abs(recorded - actual) <= COVERAGE


def _rounded(coverage: float | None) -> float | None:
    return None if coverage is None else round(coverage, 6)


def _check_affine(record: SampleRecord, rules: CropRules) -> Iterator[str]:
    affine, (x1, y1, x2, y2) = np.array(record.affine).reshape(2, 3), record.bbox
    if not np.isfinite([*record.affine, *record.bbox]).all():
        yield "affine or bbox has a number that is not finite"
        return
    (a, b, _), (c, d, _) = affine.tolist()
    zoom = math.hypot(a, c)
    if zoom == 0 or max(abs(a - d), abs(b + c)) > SIMILARITY * zoom:
        yield "affine is not a similarity without reflection"
        return
    if not (x1 < x2 and y1 < y2):
        yield f"bbox ({x1:g}, {y1:g}, {x2:g}, {y2:g}) has no area"
        return
    with np.errstate(over="ignore", invalid="ignore"):
        corners = np.array([(x1, y1), (x2, y1), (x1, y2), (x2, y2)]) @ affine[:, :2].T + affine[:, 2]  # crop pixels
        low, high = corners.min(axis=0), corners.max(axis=0)
        low, high = (corners.mean(axis=0),) * 2 if rules.holds == "centre" else (low, high)
        inside = bool((low >= -HALF_PIXEL).all() and (high <= rules.size + HALF_PIXEL).all())
        touches = bool((low < rules.size).all() and (high > 0).all())
    if not (touches if rules.holds == "part" else inside):
        (left, top), (right, bottom) = low, high
        what = {"box": "the box", "centre": "the box's centre", "part": "any part of the box"}[rules.holds]
        yield (
            f"affine does not map {what} into the crop: it comes to lie at x {left:.1f} to {right:.1f}, "
            f"y {top:.1f} to {bottom:.1f} of 0 to {rules.size}"
        )


def _decoded(picture: bytes) -> NDArray[np.generic] | None:
    """The pixels [H, W] or [H, W, channels] of an encoded picture; None where it is none."""
    if not picture:
        return None
    try:
        pixels: NDArray[np.generic] | None = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # raised, for instance, for a header that claims an absurd size
        return None
    return pixels


def _shape(pixels: NDArray[np.generic]) -> str:
    height, width, *channels = pixels.shape
    return f"{width} x {height} with {channels[0] if channels else 1} channels of {pixels.dtype}"
