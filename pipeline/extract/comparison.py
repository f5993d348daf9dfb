"""Comparing a fake with its original or its ground-truth masks: which faces are forged, and where."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.manifests import LabelSource, MaskKind, Reason
from facemill.masks import (
    FaceDifference,
    FaceForgery,
    OriginalFrame,
    difference_mask,
    find_forgeries,
    ground_truth_mask,
    mask_iou,
)
from facemill.pipeline.config.sections import LabelSettings, MaskSettings
from facemill.pipeline.extract.crop import crop_mask, mask_box, pixel_centred
from facemill.pipeline.extract.encode import encode_png
from facemill.pipeline.extract.tracking import TrackedFace

__all__ = ["Comparison", "CropMask", "FaceLabel"]

MARKED_SHARE = 0.02
"""Share of a face's box marked by the ground-truth mask from which the face counts as forged."""

Image = NDArray[np.uint8]
Key = tuple[int, int]  # position in the window, track id


@dataclass(frozen=True, slots=True)
class FaceLabel:
    """Label of one face of a fake in one frame.

    Attributes:
        label: 1 forged, 0 real; None for a face that is left out.
        source: what the label is based on.
        difference: forgery score against the original, noise = 1; None without an original to compare with.
        left_out: reason, if `label` is None.
    """

    label: int | None
    source: LabelSource
    difference: float | None = None
    left_out: Reason | None = None

    @property
    def is_forged(self) -> bool:
        """Whether this face is labelled as forged by its own difference or mask, not only by its video's label."""
        return self.label == 1 and self.source != LabelSource.VIDEO


@dataclass(frozen=True, slots=True)
class CropMask:
    """Mask of one crop, uint8 [S, S] of 0 and 255; its kind; and the ground-truth mask's IoU with the derived one."""

    kind: MaskKind
    mask: Image
    iou: float | None = None


class Comparison:
    """Collects a fake's frames of one window, then labels its faces.

    Boxes and masks are in pixels of the lead; a fake's frames are resized to the lead's size first.

    Args:
        shape: height and width of the lead's frames.
        originals: frames of the original that other fakes were compared with, by position; completed by this one.
    """

    def __init__(
        self,
        settings: MaskSettings,
        labels: LabelSettings,
        shape: tuple[int, int],
        originals: dict[int, OriginalFrame] | None = None,
    ) -> None:
        self._settings, self._labels, self._shape = settings, labels, shape
        self._originals = {} if originals is None else originals
        self._tracked: dict[int, list[TrackedFace]] = {}
        self._measured: dict[int, dict[int, FaceDifference]] = defaultdict(dict)  # by track, by position
        self._forgeries: dict[int, list[FaceForgery]] = defaultdict(list)  # by position
        self._fixed: dict[int, bytes] = {}  # masks by the fixed threshold, PNG, by position
        self._unforged: set[int] = set()  # positions
        self._given: dict[int, bytes] = {}  # ground-truth masks, PNG, by position
        self._face_labels: dict[Key, FaceLabel] = {}
        self._boxes: dict[Key, NDArray[np.float64]] = {}

    def add(
        self, position: int, real: Image | None, fake: Image, truth: Image | None, tracked: Sequence[TrackedFace]
    ) -> None:
        """Add a frame of the fake, with the original's frame and the ground-truth mask's frame (None if absent).

        Args:
            tracked: the faces in the frame.
        """
        self._tracked[position] = list(tracked)
        height, width = self._shape
        if truth is not None:
            self._given[position] = encode_png(ground_truth_mask(truth, height, width))
        if real is None:
            return
        if fake.shape != real.shape:
            fake = cv2.resize(fake, (width, height), interpolation=cv2.INTER_CUBIC)
        if position not in self._originals:
            boxes, landmarks = ([getattr(face, name) for _, face in tracked] for name in ("bbox", "landmarks"))
            self._originals[position] = OriginalFrame(real, boxes, landmarks=landmarks)
        measured = self._originals[position].measure(fake)
        for (track_id, _), difference in zip(tracked, measured, strict=True):
            self._measured[track_id][position] = difference
        s = self._settings
        if s.threshold != "auto" and s.source != "official":
            mask = difference_mask(
                real, fake, threshold=s.threshold, open=s.open, close=s.close, fill_holes=s.fill_holes
            )
            self._fixed[position] = encode_png(mask)

    def add_unforged(self, position: int, tracked: Sequence[TrackedFace]) -> None:
        """Add a frame outside the fake's forged periods, with its faces."""
        self._tracked[position] = list(tracked)
        self._unforged.add(position)

    def label_faces(self) -> dict[Key, FaceLabel]:
        """Label all faces that were added; `mask` and `box` are available afterwards."""
        for track_id, by_position in self._measured.items():
            positions = sorted(by_position)
            span = range(positions[0], positions[-1] + 1)
            for position, forgery in zip(span, find_forgeries([by_position.get(p) for p in span]), strict=True):
                if forgery is not None:
                    self._forgeries[position].append(forgery)
                    self._face_labels[position, track_id] = self._by_difference(forgery)
                    if (box := forgery.box()) is not None:
                        self._boxes[position, track_id] = box
        for position, tracked in self._tracked.items():
            given = _decoded(self._given[position]) if position in self._given else None
            for track_id, face in tracked:
                if given is not None and (marked := mask_box(given, face.bbox)) is not None:
                    self._boxes[position, track_id] = marked.astype(np.float64)
                if position in self._unforged:
                    self._face_labels[position, track_id] = self._label(False, LabelSource.PERIODS, None)
                elif (position, track_id) not in self._face_labels:
                    self._face_labels[position, track_id] = self._by_mask(given, face)
        self._measured.clear()
        return self._face_labels

    def box(self, position: int, track_id: int) -> NDArray[np.float64] | None:
        """Bounds (xyxy) of a face's forged region; None if it has none."""
        return self._boxes.get((position, track_id))

    def label_of(self, position: int, track_id: int) -> FaceLabel:
        """Label of a face; available after `label_faces`."""
        return self._face_labels[position, track_id]

    def mask(self, position: int, affine: NDArray[np.float64], size: int) -> CropMask:
        """The mask of a crop that `affine` [2, 3] takes from the lead's frame."""
        given = crop_mask(_decoded(self._given[position]), affine, size) if position in self._given else None
        derived = None if self._settings.source == "official" else self._derived(position, affine, size)
        if given is not None:
            return CropMask(MaskKind.OFFICIAL, given, None if derived is None else mask_iou(given, derived))
        if derived is None:
            return CropMask(MaskKind.NONE, np.zeros((size, size), np.uint8))
        reliable = all(forgery.reliable for forgery in self._forgeries[position])
        return CropMask(MaskKind.DIFFERENCE if reliable else MaskKind.UNRELIABLE, derived)

    def has_ground_truth(self, position: int) -> bool:
        return position in self._given

    def _derived(self, position: int, affine: NDArray[np.float64], size: int) -> Image | None:
        if position in self._fixed:
            return crop_mask(_decoded(self._fixed[position]), affine, size)
        if not self._forgeries[position]:
            return None
        # The forged region of another face in the frame may extend into this crop.
        warped = [forgery.warp(pixel_centred(affine), size) for forgery in self._forgeries[position]]
        union: Image = np.maximum.reduce(warped)
        return union

    def _by_difference(self, forgery: FaceForgery) -> FaceLabel:
        if not forgery.reliable or (not forgery.decided and self._labels.unforged == "keep_as_fake"):
            return FaceLabel(1, LabelSource.VIDEO, forgery.score)
        if not forgery.decided:
            return FaceLabel(None, LabelSource.DIFFERENCE, forgery.score, Reason.UNDECIDED)
        return self._label(forgery.forged, LabelSource.DIFFERENCE, forgery.score)

    def _by_mask(self, given: Image | None, face: Face) -> FaceLabel:
        if given is None:
            return FaceLabel(1, LabelSource.VIDEO)
        x1, y1, x2, y2 = np.rint(face.bbox).astype(int).clip(0)
        inside = given[y1:y2, x1:x2]
        return self._label(bool(inside.size and (inside > 0).mean() >= MARKED_SHARE), LabelSource.MASK, None)

    def _label(self, forged: bool, source: LabelSource, score: float | None) -> FaceLabel:
        if forged:
            return FaceLabel(1, source, score)
        match self._labels.unforged:
            case "drop":
                return FaceLabel(None, source, score, Reason.UNFORGED)
            case "keep_as_real":
                return FaceLabel(0, source, score)
            case "keep_as_fake":
                return FaceLabel(1, LabelSource.VIDEO, score)


def _decoded(mask: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
