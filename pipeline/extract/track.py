"""Tracking: linking face detections over the sampled frames, so that a person keeps their id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from facemill.detectors.face import Face

__all__ = ["Track", "Tracker", "box_iou", "largest_person", "most_forged_person"]

MAX_GAP = 8
"""Sampled frames for which a person may be out of sight and still keep their id."""
MAX_STEP, STEP_PER_FRAME = 1.0, 0.1
"""Longest way of a box's centre between two sightings, in box sides: so much, and more for each frame between."""
MAX_GROWTH, GROWTH_PER_FRAME = 2.0, 0.05
"""Largest ratio of a box's sizes in two sightings, likewise."""
LIKENESS = 0.5
"""Tracks that never meet are one person's from this ratio of their means on: a cut of the film parted them."""


@dataclass(slots=True)
class Track:
    """One person: the face in each sampled frame (by frame index) where they were seen."""

    track_id: int
    faces: dict[int, Face] = field(default_factory=dict)

    @property
    def last(self) -> Face:
        return next(reversed(self.faces.values()))

    @property
    def last_seen(self) -> int:
        """Frame of the last sighting."""
        return next(reversed(self.faces))

    @property
    def total_area(self) -> float:
        """Sum of the boxes' areas in square pixels: large and steady tracks have the most."""
        boxes = np.stack([face.bbox for face in self.faces.values()])
        return float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())


class Tracker:
    """Links faces frame by frame: feed it the sampled frames in order, then read `tracks`.

    Between a track's last sighting and a new face the cost is `1 - IoU + step`, `step` being the way of
    the centre over the box's longer side, so that sparse sampling (boxes that no longer overlap) still
    links; the assignment of all faces to all tracks is optimal (Hungarian).
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._missed: list[int] = []  # sampled frames since each track was last seen

    def update(self, frame_index: int, faces: Sequence[Face]) -> list[Track]:
        """Take in one frame's faces; returns the track of each face, in the order given."""
        open_tracks = [number for number, missed in enumerate(self._missed) if missed <= MAX_GAP]
        self._missed = [missed + 1 for missed in self._missed]
        assigned = self._assign(frame_index, open_tracks, faces)
        result = []
        for position, face in enumerate(faces):
            number = assigned.get(position)
            if number is None:
                number = len(self.tracks)
                self.tracks.append(Track(number))
                self._missed.append(0)
            self.tracks[number].faces[frame_index] = face
            self._missed[number] = 0
            result.append(self.tracks[number])
        return result

    def _assign(self, frame_index: int, open_tracks: list[int], faces: Sequence[Face]) -> dict[int, int]:
        """Track number by position in `faces`, for the faces that continue a track."""
        if not open_tracks or not faces:
            return {}
        before = np.stack([self.tracks[number].last.bbox for number in open_tracks]).astype(np.float64)
        now = np.stack([face.bbox for face in faces]).astype(np.float64)
        elapsed = np.array([frame_index - self.tracks[number].last_seen for number in open_tracks])
        cost, feasible = _link_cost(before, now, elapsed)
        rows, columns = linear_sum_assignment(np.where(feasible, cost, 1e6))
        return {int(c): open_tracks[r] for r, c in zip(rows, columns, strict=True) if feasible[r, c]}


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes [N, 4] and [M, 4] (xyxy) -> [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    union: NDArray[np.float64] = area_a[:, None] + area_b[None, :] - intersection
    iou: NDArray[np.float64] = intersection / np.maximum(union, 1e-9)
    return iou


def _link_cost(
    before: NDArray[np.float64], now: NDArray[np.float64], elapsed: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cost [N, M] of linking boxes [N, 4], `elapsed` [N] frames ago, to boxes [M, 4], and which links are thinkable."""
    sides = [np.max(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (before, now)]
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (before, now)]
    way = np.linalg.norm(centres[0][:, None] - centres[1][None, :], axis=2)
    larger, smaller = np.maximum.outer(*sides), np.minimum.outer(*sides)
    step, growth = way / np.maximum(larger, 1e-9), larger / np.maximum(smaller, 1e-9)
    near = step <= MAX_STEP + STEP_PER_FRAME * elapsed[:, None]
    alike = growth <= MAX_GROWTH + GROWTH_PER_FRAME * elapsed[:, None]
    return 1 - box_iou(before, now) + step, near & alike


def largest_person(tracks: Sequence[Track]) -> set[int]:
    """Ids of the tracks of the person with the largest and steadiest face; empty where there is nobody."""
    return _person(tracks, {track.track_id: track.total_area for track in tracks})


def most_forged_person(tracks: Sequence[Track], difference: Mapping[int, float]) -> set[int]:
    """Ids of the tracks of the person in whom a fake differs most from its original.

    Args:
        difference: by track id, mean real/fake difference inside the face box, summed over the frames.
    """
    if not any(difference.get(track.track_id, 0.0) > 0 for track in tracks):
        return largest_person(tracks)
    return _person(tracks, {track.track_id: difference.get(track.track_id, 0.0) for track in tracks})


def _person(tracks: Sequence[Track], totals: Mapping[int, float]) -> set[int]:
    """The track with the greatest total, and others, seen in other frames only, whose mean is like its own."""
    chosen: set[int] = set()
    frames: set[int] = set()
    least = 0.0
    for track in sorted(tracks, key=lambda track: (-totals[track.track_id], track.track_id)):
        mean = totals[track.track_id] / len(track.faces)
        if not chosen:
            least = LIKENESS * mean
        if mean >= least and frames.isdisjoint(track.faces):
            chosen.add(track.track_id)
            frames.update(track.faces)
    return chosen
