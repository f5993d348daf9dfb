"""Which frame of its original every frame of a fake shows.

The first guess is by time stamps. Then thumbnails of both whole clips are compared: forged faces and compression
differ in every frame, but the rest of the picture, where it moves, tells one frame from the next. Missing, repeated
and shifted frames are found by the best path through time; clips that do not belong together are refused.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from facemill.masks.block_match import JUMP, Blocks, band_costs, best_path, fit_levels, split_blocks
from facemill.masks.pair_content import compare_content
from facemill.masks.pair_times import frame_interval, predict_frames

__all__ = ["AlignmentKind", "PairAlignment", "Thumbnails", "align_pair"]

MAX_OFFSET = 40  # frames
LEAST_REACH = 6  # frames: offsets this far are compared in any case, to see that the one taken is the best

# Measured on real and composed pairs: see the table in the tests.
CERTAIN = 0.05  # by how much any other way through time is dearer
ALIKE = 0.05  # cost by which two real frames fit a fake frame equally well
ODD = 8.0  # times the usual squared difference: another picture
ODD_LEVELS = 3.0  # gray levels: but less than this is never another picture
SAME_RATE = 0.005
ROUNDINGS = np.linspace(-1, 1, 25)  # parts of a frame
STRETCHES = 4, 25  # as many stretches in step as are believed, and one more for so many frames
LEAST_OVERLAP = 0.5  # of the shorter clip
SPARSE = 24  # frames that are enough for a first look


class AlignmentKind(StrEnum):
    """How a fake follows its original in time."""

    IN_STEP = "in_step"
    SHIFTED = "shifted"  # by the same number of frames throughout
    PIECEWISE = "piecewise"  # frames are missing, repeated or added in between
    RATE = "rate"  # both files say different frame rates: frames are matched by time
    UNKNOWN = "unknown"  # nothing to see by which it could be told
    REFUSED = "refused"  # it shows something else


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnails:
    """Small luma images of those frames of a video that were decoded.

    Attributes:
        frames: uint8 [K, h, w], upright, square pixels.
        indices: int64 [K], ascending: which frames of the video these are.
        times: float64 [N], seconds: when each frame of the whole video is shown, ascending.
    """

    frames: NDArray[np.uint8]
    indices: NDArray[np.int64]
    times: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PairAlignment:
    """Which frames of a fake and its original show the same moment.

    Attributes:
        kind: how the one follows the other.
        real_of: int64 [M], for each frame of the fake the real frame that it shows; -1 for none.
        fake_of: int64 [N], for each frame of the original the fake frame that shows it; -1 for none.
        alike: bool [M], whether the real frames before and after it would fit a fake frame as well.
        doubtful: bool [N], real frames that some fake frame may show, but of which that is not certain.
        offsets: (first fake frame, offset) of each stretch in step; fake frame = real frame + offset, where the real
            frame was already matched by time.
        residual: root mean squared luma difference outside what is forged, gray levels of the thumbnails.
        gain, level: `gain * fake + level` has the real's contrast and brightness.
        reason: why it was refused, or is unknown; empty otherwise.
    """

    kind: AlignmentKind
    real_of: NDArray[np.int64]
    fake_of: NDArray[np.int64]
    alike: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]
    offsets: list[tuple[int, int]] = field(default_factory=list)
    residual: float = 0.0
    gain: float = 1.0
    level: float = 0.0
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether masks may be made of it."""
        return self.kind not in (AlignmentKind.REFUSED, AlignmentKind.UNKNOWN)

    def settled(self, indices: NDArray[np.int64]) -> bool:
        """Whether each of these fake frames [K] but those past the original's end shows a frame of it."""
        shown = self.real_of[indices] >= 0
        return bool(shown.any() and shown[: np.flatnonzero(shown)[-1] + 1].all())


def align_pair(real: Thumbnails, fake: Thumbnails, max_offset: int = MAX_OFFSET) -> PairAlignment:
    """Find the real frame that every frame of a fake shows.

    Args:
        real: best of every frame of the original.
        fake: of as many frames of the fake as were decoded; the others are placed between them.
        max_offset: frames, beyond what the time stamps say, by which frames may be off.

    Raises:
        ValueError: arrays that do not fit each other, or `max_offset` is negative.
    """
    for clip in (real, fake):
        if clip.frames.ndim != 3 or len(clip.frames) != len(clip.indices) or clip.frames.dtype != np.uint8:
            raise ValueError(f"Thumbnails {clip.frames.dtype} {list(clip.frames.shape)}: pass uint8 [K, h, w].")
    if max_offset < 0:
        raise ValueError(f"max_offset {max_offset} is negative: pass the greatest offset to look for.")
    if not len(real.frames) or not len(fake.frames):
        return _without(AlignmentKind.UNKNOWN, real, fake, "no frame of it, or of its original, decodes")
    frames = _same_size(fake.frames, real.frames.shape[1:])
    if frames is None:
        sizes = " and ".join(f"{clip.frames.shape[2]}:{clip.frames.shape[1]}" for clip in (fake, real))
        return _without(AlignmentKind.REFUSED, real, fake, f"the sides of its frames and its original's are as {sizes}")
    fake = Thumbnails(frames, fake.indices, fake.times)
    wide = max(max_offset, LEAST_REACH)
    # Nearly every pair is in step: a wide search over every few frames and a narrow one over all are enough to see it.
    step = min(8, len(fake.frames) // SPARSE)
    if step > 1:
        few = Thumbnails(fake.frames[::step], fake.indices[::step], fake.times)
        searches = (few, wide), (fake, LEAST_REACH)
        found = [_Comparison(real, some, max_offset, reach).alignment() for some, reach in searches]
        if all(one.kind is AlignmentKind.IN_STEP and one.settled(few.indices) for one in found):
            return found[-1]
    return _Comparison(real, fake, max_offset, wide).alignment()


class _Comparison:
    """Two clips whose thumbnails are of one size."""

    def __init__(self, real: Thumbnails, fake: Thumbnails, max_offset: int, reach: int) -> None:
        self.real, self.fake, self.max_offset, self.reach = real, fake, max_offset, reach
        count = len(real.times)
        frames = np.zeros((count, *real.frames.shape[1:]), np.uint8)
        frames[real.indices] = real.frames
        present = np.zeros(count, bool)
        present[real.indices] = True
        self.originals = split_blocks(frames, present)
        forged = split_blocks(fake.frames, np.ones(len(fake.frames), bool))
        self.predicted = predict_frames(real.times, fake.times)  # [M]
        steps = frame_interval(real.times), frame_interval(fake.times)
        self.clocks_differ = min(steps) > 0 and abs(steps[0] / steps[1] - 1) > SAME_RATE
        self.unsure = np.zeros(len(fake.times), bool)
        self.weight = float(fake.indices[-1] - fake.indices[0] + 1) / len(fake.indices)  # frames for each one compared
        self.gain, self.level = self._levels(forged)
        self.forged = Blocks(self.gain * forged.pixels + np.float32(self.level), forged.present)

    def alignment(self) -> PairAlignment:
        expected = self.predicted[self.fake.indices]
        costs = band_costs(self.originals, self.forged, expected, self.reach, self.weight)
        path, dearer = best_path(costs, clocks_differ=self.clocks_differ)
        if self.clocks_differ:
            costs = self._match_rounding(costs, path)
            expected = self.predicted[self.fake.indices]
            path, dearer = best_path(costs, clocks_differ=True)
        offsets = path - self.reach
        matched = expected + offsets  # [K]
        inside = (matched >= 0) & (matched < len(self.real.times))
        inside[inside] = self.originals.present[matched[inside]]
        if inside.sum() < LEAST_OVERLAP * len(expected) * min(1.0, len(self.real.times) / len(self.fake.times)):
            return self._refused(f"only {inside.sum()} of {len(expected)} frames compared find a place in its original")
        pixels = self.originals.pixels[:, matched[inside]], self.forged.pixels[:, np.flatnonzero(inside)]  # [B, n, P]
        squares, reason, certain = compare_content(*pixels)
        if reason:
            kind = AlignmentKind.REFUSED if certain else AlignmentKind.UNKNOWN
            return _without(kind, self.real, self.fake, reason)
        usual = float(np.median(squares))
        odd = np.zeros(len(offsets), bool)
        odd[inside] = squares > np.maximum(ODD * usual, ODD_LEVELS**2)
        if odd.sum() > 0.5 * inside.sum():
            return self._refused(f"{odd.sum()} of {inside.sum()} frames compared show something else")
        good = inside & ~odd
        if (np.diff(matched[good]) < -1).sum() > 1:
            return self._refused("its frames are in another order")
        turns = np.count_nonzero(np.diff(offsets[good]))
        if not self.clocks_differ and turns >= STRETCHES[0] + len(expected) / STRETCHES[1]:
            return self._refused(f"it falls out of step {turns} times in {len(expected)} frames")
        largest = int(np.abs(offsets[good]).max())
        if largest > self.max_offset and not self._still(costs):
            return self._refused(f"it is off by {largest} frames, more than the {self.max_offset} that are allowed")
        alike = _looks_alike(costs / np.float32(self.weight), path)
        alternatives = dearer < CERTAIN
        # Neighbours that look alike may be taken for each other, but nothing may be placed by them.
        harmless = alike[:, None] & (np.abs(np.arange(alternatives.shape[1]) - path[:, None]) <= 1)
        about = np.asarray(alternatives.any(axis=1))
        there = np.asarray((alternatives & ~harmless).any(axis=1))
        return self._spread(offsets, ~inside | odd, (about, there), alike, float(np.sqrt(usual)))

    def _match_rounding(self, costs: NDArray[np.float32], path: NDArray[np.int64]) -> NDArray[np.float32]:
        """Predict anew, with the part of a frame by which whoever changed the rate rounded; the costs of that."""
        frame_time = frame_interval(self.real.times)
        smooth = median_filter(path, size=min(15, len(path)), mode="nearest")
        rows, last = np.arange(len(path)), costs.shape[1] - 1
        guesses = np.stack([predict_frames(self.real.times, self.fake.times, late * frame_time) for late in ROUNDINGS])
        moved = (guesses - self.predicted)[:, self.fake.indices]  # [guesses, K]
        total = costs[rows, np.clip(smooth + moved, 0, last)].sum(axis=1)
        chosen = int(total.argmin())
        # Frames that were not decoded may be placed only where all guesses that fit as well agree.
        as_good = guesses[total <= total[chosen] + JUMP / 2]
        self.unsure = (as_good != guesses[chosen]).any(axis=0)
        self.predicted = guesses[chosen]
        return np.take_along_axis(costs, np.clip(np.arange(last + 1) + moved[chosen][:, None], 0, last), axis=1)

    def _levels(self, forged: Blocks) -> tuple[float, float]:
        """By the mean pictures of both clips, which hardly depend on how they lie in time."""
        shown = self.originals.pixels[:, self.originals.present]
        return fit_levels(shown.mean(axis=1).ravel(), forged.pixels.mean(axis=1).ravel())

    def _still(self, costs: NDArray[np.float32]) -> bool:
        return bool(np.median(np.ptp(costs, axis=1)) < ALIKE * self.weight)

    def _spread(
        self,
        offsets: NDArray[np.int64],
        unmatched: NDArray[np.bool_],
        doubtful: tuple[NDArray[np.bool_], NDArray[np.bool_]],
        alike: NDArray[np.bool_],
        residual: float,
    ) -> PairAlignment:
        """From the fake frames that were compared to all frames of both clips."""
        count, total = len(self.real.times), len(self.fake.times)
        every = np.arange(total)
        before = np.clip(np.searchsorted(self.fake.indices, every, side="right") - 1, 0, None)
        after = np.clip(np.searchsorted(self.fake.indices, every, side="left"), None, len(offsets) - 1)
        places = self.predicted + np.stack([offsets[before], offsets[after]])  # [2, M]
        real_of = places[0]
        # Between two stretches nobody saw where the one ends.
        turn = np.abs(offsets[before] - offsets[after])
        unknown = (turn > 0) & ~(alike[before] & alike[after] & (turn == 1))
        unknown |= self.unsure & (before != after) & ~(alike[before] & alike[after])
        nowhere = unmatched[before] | unmatched[after]
        unknown |= nowhere
        about, there = doubtful
        seen = self.fake.indices[before] == every
        unknown |= np.where(seen, there[before], about[before] | about[after])
        real_of = np.where(unknown | (real_of < 0) | (real_of >= count), -1, real_of)
        fake_of = np.full(count, -1, np.int64)
        shown = np.flatnonzero(real_of >= 0)
        fake_of[real_of[shown][::-1]] = shown[::-1]  # the first of several
        possible = places[:, unknown & ~nowhere]
        withheld = np.zeros(count, bool)
        withheld[possible[(possible >= 0) & (possible < count)]] = True
        withheld &= fake_of < 0
        good = np.flatnonzero(~unmatched)
        turns = good[np.flatnonzero(np.diff(offsets[good], prepend=offsets[good[0]] - 1))]
        stretches = [(int(self.fake.indices[turn]), -int(offsets[turn])) for turn in turns]
        if self.clocks_differ:
            kind = AlignmentKind.RATE
        elif len(stretches) > 1:
            kind = AlignmentKind.PIECEWISE
        else:
            kind = AlignmentKind.SHIFTED if stretches[0][1] else AlignmentKind.IN_STEP
        return PairAlignment(
            kind, real_of, fake_of, alike[before] & alike[after], withheld, stretches, residual, self.gain, self.level
        )

    def _refused(self, reason: str) -> PairAlignment:
        return _without(AlignmentKind.REFUSED, self.real, self.fake, reason)


def _without(kind: AlignmentKind, real: Thumbnails, fake: Thumbnails, reason: str) -> PairAlignment:
    count, total = len(real.times), len(fake.times)
    return PairAlignment(
        kind,
        real_of=np.full(total, -1, np.int64),
        fake_of=np.full(count, -1, np.int64),
        alike=np.zeros(total, bool),
        doubtful=np.zeros(count, bool),
        reason=reason,
    )


def _same_size(frames: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Thumbnails of the size wanted; None where they differ by more than rounding."""
    if frames.shape[1:] == shape:
        return frames
    if max(abs(own - other) for own, other in zip(frames.shape[1:], shape, strict=True)) > 1:
        return None
    return np.stack([cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_LINEAR) for frame in frames])


def _looks_alike(costs: NDArray[np.float32], path: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the real frames on both sides fit as well as that of the path [K]."""
    rows = np.arange(len(path))
    sides = [costs[rows, np.clip(path + step, 0, costs.shape[1] - 1)] for step in (-1, 1)]
    alike: NDArray[np.bool_] = np.maximum(*sides) - costs[rows, path] < ALIKE
    return alike
