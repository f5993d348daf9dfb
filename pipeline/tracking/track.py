"""Tracking: link face detections across the sampled frames, so that a person keeps one id."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from facemill.detectors.face import Face
from facemill.pipeline.tracking.appearance import unlikeness
from facemill.pipeline.tracking.portraits import Album

__all__ = ["Track", "Tracker", "apart", "box_iou", "largest_person"]

MAX_GAP, MAX_GAP_FRAMES = 8, 100
"""A person keeps their id unless unseen for more than this many sampled frames and frames of the video."""
LIMITS = {1: 6.0, 10: 4.5, 50: 3.0}
"""Cost above which a face is taken for a new person, by the number of frames since the person was last seen."""
CERTAIN = 0.5
"""Cost below which the only possible link needs no comparison of portraits."""
STEP, STEP_PER_FRAME, MAX_STEP = 0.15, 0.12, 3.0
"""Standard deviation of a box's centre about its expected place, in box sides: base, increase per frame, maximum."""
STAY, STAY_PER_FRAME = 0.3, 0.03
"""Scale of the displacement of people who stay in place, in box sides: most do, so large displacements cost extra."""
GROWTH, GROWTH_PER_FRAME, MAX_GROWTH = 0.12, 0.01, 0.4
"""Standard deviation of the logarithm of a box's size: base, increase per frame, maximum."""
LIKE, LIKE_DEVIATION = 0.32, 0.055
"""Usual distance between descriptors of one person, and the standard deviation above it."""
UNLIKE_LIMITS = {5: 0.45, 15: 0.36}
"""Descriptor distance above which a face shows somebody else, wherever it is, by the number of frames since the person
was last seen: stricter after a longer gap. A track that ends early is better than a track of two people."""
NEIGHBOURHOOD = 0.4
"""Margin around the box that mostly determines a descriptor, in box sides."""
LOOKS = 8
"""Number of a person's latest descriptors that a new face is compared with."""
LIKENESS = 0.5
"""Minimum ratio of mean areas of two tracks that may show one person before and after a cut."""

Looks = Sequence[NDArray[np.float32]]
"""A descriptor (see `facemill.pipeline.tracking.appearance`) for each face."""


@dataclass(slots=True)
class Track:
    """One person: their face in each sampled frame in which they were seen, by frame index; descriptors; portraits."""

    track_id: int
    faces: dict[int, Face] = field(default_factory=dict)
    looks: list[NDArray[np.float32]] = field(default_factory=list)
    album: Album = field(default_factory=Album)

    @property
    def last(self) -> Face:
        return next(reversed(self.faces.values()))

    @property
    def last_seen(self) -> int:
        """Frame of the last sighting."""
        return next(reversed(self.faces))

    @property
    def total_area(self) -> float:
        """Sum of the areas of the boxes, in square pixels: large for big faces and for long tracks."""
        boxes = np.stack([face.bbox for face in self.faces.values()])
        return float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())


@dataclass(slots=True, eq=False)
class _Trail:
    """A person's last positions, in sampled frames or between them, and appearance."""

    sightings: list[tuple[int, NDArray[np.float64]]]  # the last two: frame index and box
    looks: list[NDArray[np.float32]]
    track: Track | None = None
    missed: int = 0  # sampled frames since they were last seen

    def expected(self, frame_index: int) -> list[NDArray[np.float64]]:
        """Possible centres: the last one, and the one extrapolated from the last movement."""
        (before, box), (last, now) = self.sightings[0], self.sightings[-1]
        here = (now[:2] + now[2:]) / 2
        if last == before:
            return [here]
        # A movement is extrapolated for no longer than it was observed.
        onward = min(frame_index - last, last - before) / (last - before)
        return [here, here + onward * (here - (box[:2] + box[2:]) / 2)]

    def lost(self, frame_index: int) -> bool:
        return self.missed > MAX_GAP and frame_index - self.sightings[-1][0] > MAX_GAP_FRAMES

    def saw(self, frame_index: int, box: NDArray[np.float64], look: NDArray[np.float32] | None) -> None:
        self.sightings = [self.sightings[-1], (frame_index, box)]
        self.missed = 0
        if look is not None:
            self.looks.append(look)


class Tracker:
    """Links faces frame by frame: pass the sampled frames in order, then read `tracks`.

    The cost of a link is the negative logarithm of a Gaussian likelihood of the face's position, size and descriptor,
    given the person's last ones. The assignment minimises the total cost. Faces and people may stay unlinked at a
    fixed cost, so that one newcomer does not shift everybody else's link.

    Attributes:
        tracks: all people seen in a sampled frame, by ascending id.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._trails: list[_Trail] = []  # of people who may be seen again
        self._ids = count()
        self._certain: dict[int, _Trail] = {}  # by index of the face in the next sample: the only possible link

    def update(
        self,
        frame_index: int,
        faces: Sequence[Face],
        looks: Looks | None = None,
        refutes: Callable[[Track, int], bool] | None = None,
    ) -> list[Track]:
        """Add a sampled frame's faces, each with a descriptor; return each face's track, in the given order.

        Args:
            refutes: whether a track shows somebody else than the face with an index in `faces`. Asked for links that
                `ambiguous` did not find certain; a refuted trail ends, since frames in between may have misled it.
        """
        self._trails = [trail for trail in self._trails if not trail.lost(frame_index)]
        for trail in self._trails:
            trail.missed += 1
        if refutes is not None:
            while refuted := self._refuted(self._assign(frame_index, faces, looks), refutes):
                self._trails = [trail for trail in self._trails if trail not in refuted]
        self._certain = {}
        result = []
        for trail, face in zip(self._see(frame_index, faces, looks), faces, strict=True):
            if trail.track is None:
                trail.track = Track(next(self._ids))
                self.tracks.append(trail.track)
            trail.track.faces[frame_index] = face
            trail.track.looks = trail.looks
            result.append(trail.track)
        return result

    def glance(self, frame_index: int, faces: Sequence[Face], looks: Looks | None = None) -> None:
        """Add the faces of a frame between two samples: they help to follow people, but are not part of a track."""
        self._see(frame_index, faces, looks)

    def cut(self) -> None:
        """End all tracks, since another shot begins."""
        self._trails = []

    def join(self, ids: Mapping[int, int]) -> None:
        """Merge tracks of one person, which share no frame, into the track whose id is given for each.

        Merged tracks leave `tracks`; their `track_id` becomes the given one.
        """
        whole = {track.track_id: track for track in self.tracks}
        for part in [whole[old] for old, new in ids.items() if old != new]:
            part.track_id = ids[part.track_id]
            person = whole[part.track_id]
            person.faces = dict(sorted({**person.faces, **part.faces}.items()))
            person.looks += part.looks
            person.album.merge(part.album)
        self.tracks = [track for track in self.tracks if whole[track.track_id] is track]
        # Only the latest of a person's trails continues.
        trails: dict[int, _Trail] = {}
        for trail in sorted(self._trails, key=lambda trail: trail.sightings[-1][0]):
            if trail.track is not None:
                trail.track = whole[trail.track.track_id]
                trail.looks = trail.track.looks
            trails[id(trail.track or trail)] = trail
        self._trails = list(trails.values())

    def ambiguous(self, frame_index: int, faces: Sequence[Face], looks: Looks | None = None) -> bool:
        """Whether to examine frames in between before `update`: a link is missing or not unique."""
        self._certain = {}
        present = [trail.missed == 0 for trail in self._trails]
        if not faces or not any(present):
            return False
        cost, limit = _link_cost(self._trails, frame_index, faces, looks)
        thinkable = cost < limit
        unique = (cost < CERTAIN) & (thinkable.sum(axis=0) == 1) & (thinkable.sum(axis=1, keepdims=True) == 1)
        self._certain = {int(face): self._trails[trail] for trail, face in np.argwhere(unique)}
        return bool((thinkable.sum(axis=0) != 1).any() or (thinkable[present].sum(axis=1) != 1).any())

    def _refuted(self, assigned: Mapping[int, int], refutes: Callable[[Track, int], bool]) -> list[_Trail]:
        """Assigned trails of somebody else than the face."""
        links = [(face, self._trails[trail]) for face, trail in assigned.items()]
        return [
            trail
            for face, trail in links
            if trail.track is not None and self._certain.get(face) is not trail and refutes(trail.track, face)
        ]

    def _see(self, frame_index: int, faces: Sequence[Face], looks: Looks | None) -> list[_Trail]:
        """The trail of each face, new or continued."""
        assigned = self._assign(frame_index, faces, looks)
        result = []
        separate = apart(faces)
        for position, face in enumerate(faces):
            box, look = face.bbox.astype(np.float64), None if looks is None else looks[position]
            if position in assigned:
                trail = self._trails[assigned[position]]
                # A person in front of or beside another changes the other's descriptor.
                trail.saw(frame_index, box, look if separate[position] or not trail.looks else None)
            else:
                trail = _Trail([(frame_index, box)], [] if look is None else [look])
            result.append(trail)
        self._trails += [trail for position, trail in enumerate(result) if position not in assigned]
        return result

    def _assign(self, frame_index: int, faces: Sequence[Face], looks: Looks | None) -> dict[int, int]:
        """Index of the trail by index in `faces`, for faces that continue a trail."""
        if not self._trails or not faces:
            return {}
        cost, limit = _link_cost(self._trails, frame_index, faces, looks)
        # One more column per trail, for no face: the cost of not linking.
        gain = np.hstack([np.minimum(cost - limit, 1e6), np.zeros((len(cost), len(cost)))])
        pairs = zip(*linear_sum_assignment(gain), strict=True)
        return {int(column): int(row) for row, column in pairs if column < len(faces) and gain[row, column] < 0}


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes [N, 4] and [M, 4] (xyxy) -> [N, M]; torchvision's would bring in torch."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    union: NDArray[np.float64] = area_a[:, None] + area_b[None, :] - intersection
    iou: NDArray[np.float64] = intersection / np.maximum(union, 1e-9)
    return iou


def apart(faces: Sequence[Face]) -> NDArray[np.bool_]:
    """Which faces have no other face within the region that determines a descriptor."""
    boxes = np.array([face.bbox for face in faces], np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    around = np.hstack([boxes[:, :2] - NEIGHBOURHOOD * sides, boxes[:, 2:] + NEIGHBOURHOOD * sides])
    close = box_iou(around, boxes) > 0
    np.fill_diagonal(close, False)
    return np.asarray(~close.any(axis=1))


def _link_cost(
    trails: Sequence[_Trail], frame_index: int, faces: Sequence[Face], looks: Looks | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cost [N, M] of linking M faces to N trails, and the cost [N, 1] above which they are not linked."""
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
    if looks is not None:
        now_looks = np.stack(looks)
        unlike = np.stack([unlikeness(np.stack(trail.looks[-LOOKS:]), now_looks).min(axis=0) for trail in trails])
        cost += (np.maximum(unlike - LIKE, 0) / LIKE_DEVIATION) ** 2
        alike = unlike < np.interp(elapsed, list(UNLIKE_LIMITS), list(UNLIKE_LIMITS.values()))
        cost = np.where(alike, cost, np.inf)
    limit = np.interp(elapsed, list(LIMITS), list(LIMITS.values()))
    return cost / 2, limit


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
    return bool(unlikeness(np.stack(track.looks), np.stack(looks)).min() < min(UNLIKE_LIMITS.values()))
