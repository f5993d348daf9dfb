"""Tracking: linking face detections over the sampled frames, so that a person keeps their id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from facemill.detectors.face import Face
from facemill.pipeline.tracking.appearance import Look, compute_embeddings, much_alike, unlikeness

__all__ = ["Track", "Tracker", "box_iou", "largest_person"]

MAX_GAP, MAX_GAP_FRAMES = 8, 100
"""Sampled frames, and frames of the video, for which a person may be out of sight and still keep their id."""
LIMITS = {1: 6.0, 10: 4.5, 50: 3.0}
"""Cost at which a face is rather somebody new, by the frames since the person was last seen."""
STEP, STEP_PER_FRAME, MAX_STEP = 0.15, 0.12, 3.0
"""Standard deviation of a box's centre from where it is expected, in box sides: at once, more a frame, at most."""
STAY, STAY_PER_FRAME = 0.3, 0.03
"""Scale of the way, in box sides, of those who stay: most people do, so that far ways have a price of their own."""
GROWTH, GROWTH_PER_FRAME, MAX_GROWTH = 0.12, 0.01, 0.4
"""Standard deviation of the logarithm of a box's size, likewise."""
LIKE, LIKE_DEVIATION = 0.45, 0.07
"""What embeddings of one person mostly differ by, and the standard deviation beyond."""
UNLIKE_LIMITS = {5: 0.6, 15: 0.54}
"""Difference of embeddings from which on a face is somebody else, wherever it is, by the frames since the person was
last seen: the longer nobody looked, the surer it must be. A track that ends costs less than one of two people."""
ALONE = 0.1
"""How much more the embedding may differ where nobody else is there to be taken for."""
LOOKS = 8
"""First and last looks of a person that are kept; with the last ones a new face is compared."""
LIKENESS = 0.5
"""Tracks that never meet may be one person's from this ratio of their mean areas on: a cut of the film parted them."""
SAME = 0.5
"""Difference of embeddings up to which they may be."""


@dataclass(slots=True)
class Track:
    """One person: the face in each sampled frame (by frame index) where they were seen, and some looks."""

    track_id: int
    faces: dict[int, Face] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)

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


@dataclass(slots=True)
class _Trail:
    """Where a person was last seen, in sampled frames or between them, and what they look like."""

    sightings: list[tuple[int, NDArray[np.float64]]]  # the last two: frame and box
    looks: list[Look]
    track: Track | None = None
    missed: int = 0  # sampled frames since they were last seen

    def expected(self, frame_index: int) -> list[NDArray[np.float64]]:
        """Centres where the person may be: where they were, and where their last movement leads."""
        (before, box), (last, now) = self.sightings[0], self.sightings[-1]
        here = (now[:2] + now[2:]) / 2
        if last == before:
            return [here]
        # A movement is trusted for as long again as it was seen.
        onward = min(frame_index - last, last - before) / (last - before)
        return [here, here + onward * (here - (box[:2] + box[2:]) / 2)]

    @property
    def compared(self) -> list[Look]:
        """Looks with which a new face is compared: those of the last ones that have an embedding, and the last one."""
        return [*(look for look in self.looks[-LOOKS:-1] if look.embedding is not None), *self.looks[-1:]]

    def lost(self, frame_index: int) -> bool:
        return self.missed > MAX_GAP and frame_index - self.sightings[-1][0] > MAX_GAP_FRAMES

    def saw(self, frame_index: int, box: NDArray[np.float64], look: Look | None) -> None:
        self.sightings = [self.sightings[-1], (frame_index, box)]
        self.missed = 0
        if look is not None:
            self.looks.append(look)
            del self.looks[LOOKS:-LOOKS]


class Tracker:
    """Links faces frame by frame: feed it the sampled frames in order, then read `tracks`.

    The cost of a link is the negative logarithm of a Gaussian likelihood of the face's place, size and look, given
    what was last seen of the person. The assignment is the cheapest one in which every face and every person
    may also stay without a partner, at a price: one newcomer does not shift everybody else.

    Attributes:
        tracks: everybody seen in a sampled frame, by ascending id.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._trails: list[_Trail] = []  # of those who may be seen again
        self._ids = count()

    def update(self, frame_index: int, faces: Sequence[Face], looks: Sequence[Look] | None = None) -> list[Track]:
        """Take in a sampled frame's faces, with a look each; returns each face's track, in the order given."""
        self._trails = [trail for trail in self._trails if not trail.lost(frame_index)]
        for trail in self._trails:
            trail.missed += 1
        result = []
        for trail, face in zip(self._see(frame_index, faces, looks), faces, strict=True):
            if trail.track is None:
                trail.track = Track(next(self._ids))
                self.tracks.append(trail.track)
            trail.track.faces[frame_index] = face
            trail.track.looks = trail.looks
            result.append(trail.track)
        return result

    def glance(self, frame_index: int, faces: Sequence[Face], looks: Sequence[Look] | None = None) -> None:
        """Take in the faces of a frame between two sampled ones: they are followed, but no part of any track."""
        self._see(frame_index, faces, looks)

    def cut(self) -> None:
        """End all tracks: another shot begins."""
        self._trails = []

    def join(self, ids: Mapping[int, int]) -> None:
        """Merge tracks of one person, never seen in the same frame, into the one whose id is given for each.

        Merged tracks leave `tracks`; their `track_id` becomes the given one.
        """
        whole = {track.track_id: track for track in self.tracks}
        for part in [whole[old] for old, new in ids.items() if old != new]:
            part.track_id = ids[part.track_id]
            person = whole[part.track_id]
            person.faces = dict(sorted({**person.faces, **part.faces}.items()))
            person.looks += part.looks
        self.tracks = [track for track in self.tracks if whole[track.track_id] is track]
        # Of several trails of one person only the latest goes on.
        trails: dict[int, _Trail] = {}
        for trail in sorted(self._trails, key=lambda trail: trail.sightings[-1][0]):
            if trail.track is not None:
                trail.track = whole[trail.track.track_id]
                trail.looks = trail.track.looks
            trails[id(trail.track or trail)] = trail
        self._trails = list(trails.values())

    def ambiguous(self, frame_index: int, faces: Sequence[Face], looks: Sequence[Look] | None = None) -> bool:
        """Whether frames in between should be looked at before `update`: a link is missing, or not the only one."""
        present = [trail.missed == 0 for trail in self._trails]
        if not faces or not any(present):
            return False
        cost, limit = _link_cost(self._trails, frame_index, faces, looks)
        thinkable = cost < limit
        return bool((thinkable.sum(axis=0) != 1).any() or (thinkable[present].sum(axis=1) != 1).any())

    def _see(self, frame_index: int, faces: Sequence[Face], looks: Sequence[Look] | None) -> list[_Trail]:
        """The trail of each face, new or continued."""
        assigned = self._assign(frame_index, faces, looks)
        result = []
        for position, face in enumerate(faces):
            box, look = face.bbox.astype(np.float64), None if looks is None else looks[position]
            if position in assigned:
                trail = self._trails[assigned[position]]
                trail.saw(frame_index, box, look)
            else:
                trail = _Trail([(frame_index, box)], [] if look is None else [look])
            result.append(trail)
        self._trails += [trail for position, trail in enumerate(result) if position not in assigned]
        return result

    def _assign(self, frame_index: int, faces: Sequence[Face], looks: Sequence[Look] | None) -> dict[int, int]:
        """Position of the trail by position in `faces`, for the faces that continue one."""
        if not self._trails or not faces:
            return {}
        cost, limit = _link_cost(self._trails, frame_index, faces, looks)
        # One more column for each trail, which stands for no face: the price of not linking.
        gain = np.hstack([np.minimum(cost - limit, 1e6), np.zeros((len(cost), len(cost)))])
        pairs = zip(*linear_sum_assignment(gain), strict=True)
        return {int(column): int(row) for row, column in pairs if column < len(faces) and gain[row, column] < 0}


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
    trails: Sequence[_Trail], frame_index: int, faces: Sequence[Face], looks: Sequence[Look] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cost [N, M] of linking faces to trails, and the cost [N, 1] from which on they are not linked."""
    elapsed = np.array([[frame_index - trail.sightings[-1][0]] for trail in trails])  # [N, 1]
    before = np.stack([trail.sightings[-1][1] for trail in trails])
    now = np.stack([face.bbox for face in faces]).astype(np.float64)
    sides = [np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 1e-9) for boxes in (before, now)]
    centres = (now[:, :2] + now[:, 2:]) / 2
    ways = [
        np.linalg.norm(np.stack(trail.expected(frame_index))[:, None] - centres, axis=2).min(axis=0) for trail in trails
    ]
    step = np.stack(ways) / np.maximum.outer(*sides)
    growth = np.log(np.divide.outer(*sides))
    cost = (step / np.minimum(STEP + STEP_PER_FRAME * elapsed, MAX_STEP)) ** 2
    cost += 2 * np.log1p((step / (STAY + STAY_PER_FRAME * elapsed)) ** 2)
    cost += (growth / np.minimum(GROWTH + GROWTH_PER_FRAME * elapsed, MAX_GROWTH)) ** 2
    limit = np.interp(elapsed, list(LIMITS), list(LIMITS.values()))
    cost /= 2
    if looks is not None:
        sure = _sure_links(cost, limit, trails, looks)
        for i, j in sure:
            kept = cost[i, j]
            cost[i], cost[:, j], cost[i, j] = np.inf, np.inf, kept
        doubtful = [(int(i), int(j)) for i, j in np.argwhere(cost < limit) if (i, j) not in sure]
        seen = [trail.compared for trail in trails]
        compute_embeddings([look for i, j in doubtful for look in (looks[j], *seen[i])])
        alone = len(faces) == 1 and sum(trail.missed <= 1 for trail in trails) == 1
        for i, j in doubtful:
            unlike = unlikeness(seen[i], [looks[j]]).min() - ALONE * (alone and trails[i].missed <= 1)
            alike = unlike < np.interp(elapsed[i, 0], list(UNLIKE_LIMITS), list(UNLIKE_LIMITS.values()))
            cost[i, j] += (max(unlike - LIKE, 0) / LIKE_DEVIATION) ** 2 / 2 if alike else np.inf
    return cost, limit


def _sure_links(
    cost: NDArray[np.float64], limit: NDArray[np.float64], trails: Sequence[_Trail], looks: Sequence[Look]
) -> set[tuple[int, int]]:
    """Links (trail, face) that need no embedding: each is the other's nearest, and thumbnails hardly differ."""
    nearest = [(int(i), j) for j, i in enumerate(cost.argmin(axis=0))]
    return {
        (i, j)
        for i, j in nearest
        if trails[i].missed <= 1
        and cost[i, j] < limit[i]
        and cost[i].argmin() == j
        and much_alike(trails[i].looks[-LOOKS:], looks[j])
    }


def largest_person(tracks: Sequence[Track]) -> set[int]:
    """Ids of the tracks of the person with the largest and steadiest face; empty where there is nobody.

    That is the track with the greatest total area, and others, seen in other frames only, of a face about as large
    that looks like it: cuts and absences part the tracks of one person.
    """
    chosen: dict[int, Track] = {}
    frames: set[int] = set()
    for track in sorted(tracks, key=lambda track: (-track.total_area, track.track_id)):
        if frames.isdisjoint(track.faces) and (not chosen or _joins(track, list(chosen.values()))):
            chosen[track.track_id] = track
            frames.update(track.faces)
    return set(chosen)


def _joins(track: Track, others: Sequence[Track]) -> bool:
    """Whether a track shows the person of other tracks, of which the first one is the largest."""
    sizes = [person.total_area / len(person.faces) for person in (track, others[0])]
    looks = [look for other in others for look in other.looks]
    if sizes[0] < LIKENESS * sizes[1] or not looks or not track.looks:
        return False
    return bool(unlikeness(track.looks, looks).min() < SAME)
