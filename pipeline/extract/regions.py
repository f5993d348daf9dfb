"""Forged regions: the mask of each fake's frame, from its original or from the dataset's own mask video."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemill.manifests import MaskKind
from facemill.masks import luma_difference, mask_from_difference, mask_iou, official_mask
from facemill.pipeline.config.recipe import MaskSettings

__all__ = ["PRISTINE", "ForgedRegion", "find_region"]


@dataclass(frozen=True, slots=True)
class ForgedRegion:
    """What is known of where a frame was forged.

    Attributes:
        kind: where the mask comes from; `none` where nobody knows.
        mask: uint8 [H, W] of 0 and 255 at the frame's own resolution, or None.
        evidence: [H, W], large where the frame is forged: the luma difference, or else the mask.
        iou: agreement of the difference with the official mask, where both were asked for.
    """

    kind: MaskKind
    mask: NDArray[np.uint8] | None = None
    evidence: NDArray[np.uint8] | None = None
    iou: float | None = None

    def evidence_in(self, box: NDArray[np.float32]) -> float:
        """Mean evidence inside a box (xyxy, pixels of the frame); 0 where there is none."""
        if self.evidence is None:
            return 0.0
        height, width = self.evidence.shape
        x1, x2 = np.clip(np.rint(box[[0, 2]]).astype(int), 0, width)
        y1, y2 = np.clip(np.rint(box[[1, 3]]).astype(int), 0, height)
        inside = self.evidence[y1:y2, x1:x2]
        return float(inside.mean()) if inside.size else 0.0


FACE_MARGIN = 1.6
"""Side of the box, as a multiple of the face box's, outside of which nothing is forged."""
PRISTINE = ForgedRegion(MaskKind.ZEROS)
"""Of a real frame: nothing is forged."""


def find_region(
    real: NDArray[np.uint8] | None,
    fake: NDArray[np.uint8],
    official: NDArray[np.uint8] | None,
    settings: MaskSettings,
    face_boxes: Sequence[NDArray[np.float32]],
) -> ForgedRegion:
    """Find where a fake's frame [H, W, 3] was forged.

    Args:
        real: the same frame of its original, if there is one.
        official: the same frame of the dataset's mask video, if it was asked for and there is one.
        face_boxes: faces in the frame; what lies outside shows the pair's compression noise.
    """
    height, width = fake.shape[:2]
    given = None if official is None else official_mask(official, height, width)
    difference = None if real is None else luma_difference(real, fake)
    derived = None
    if difference is not None and (settings.source != "official"):
        derived = mask_from_difference(
            difference,
            threshold=settings.threshold,
            open=settings.open,
            close=settings.close,
            fill_holes=settings.fill_holes,
            outside=_enlarged(face_boxes),
        )
    evidence = difference if difference is not None else given
    if given is not None:
        iou = None if derived is None else mask_iou(given, derived)
        return ForgedRegion(MaskKind.OFFICIAL, given, evidence, iou)
    if derived is not None:
        return ForgedRegion(MaskKind.DIFFERENCE, derived, evidence)
    return ForgedRegion(MaskKind.NONE, evidence=evidence)


def _enlarged(boxes: Sequence[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """Boxes [N, 4] about the same centres with room for chin, hair and blending."""
    if not boxes:
        return None
    corners = np.stack(boxes)
    centres, halves = (corners[:, :2] + corners[:, 2:]) / 2, (corners[:, 2:] - corners[:, :2]) / 2 * FACE_MARGIN
    return np.hstack([centres - halves, centres + halves])
