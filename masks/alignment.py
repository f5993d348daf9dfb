"""Temporal alignment of a pair: which frame of the original each frame of a fake shows.

The first estimate uses time stamps. Then thumbnails of both videos are compared: forged faces and compression differ
in every frame, but motion in the rest of the image distinguishes one frame from the next. The alignment path of
least cost finds missing, repeated and shifted frames; videos that do not belong together are refused.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from facemill.masks.block_match import JUMP, Blocks, band_costs, best_path, fit_levels, split_blocks
from facemill.masks.pair_content import compare_content
from facemill.masks.pair_times import frame_interval, predict_frames

__all__ = ["AlignmentKind", "PairAlignment", "Thumbnails", "align_pair"]

MAX_OFFSET = 40  # frames: largest deviation from the time stamps
WIDEST_REACH = MAX_OFFSET + 1  # a pair that is further apart fits best there
LEAST_REACH = 6  # frames: offsets up to this are compared to confirm that a pair is in step

# Measured on real and composed pairs: see the table in the tests.
CERTAIN = 0.05  # least extra cost of any other path for a match to be certain
ALIKE = 0.05  # largest difference in cost at which two real frames fit a fake frame equally well
ODD = 8.0  # times the median squared difference: the frame shows other content
ODD_LEVELS = 3.0  # gray levels: a smaller difference never means other content
SAME_RATE = 0.005
ROUNDINGS = np.linspace(-1, 1, 25)  # in frames
STRETCHES = 4, 25  # changes of the offset from which a pair is refused: 4, plus one per 25 frames
SLIP = 4  # frames: a match may once be late by so many, of a strongly compressed film
LEAST_OVERLAP = 0.5  # of the shorter video
MANY, FEW = 256, 8  # frames from which a first search is made, and of how many it takes one


class AlignmentKind(StrEnum):
    """How a fake follows its original in time."""

    IN_STEP = "in_step"
    SHIFTED = "shifted"  # by the same number of frames throughout
    PIECEWISE = "piecewise"  # frames are missing, repeated or added in between
    RATE = "rate"  # the files have different frame rates: frames are matched by time
    UNKNOWN = "unknown"  # too little visible structure to decide
    REFUSED = "refused"  # it shows other content


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Small luma images of the decoded frames of a video.

    Attributes:
        frames: uint8 [K, h, w], upright, square pixels.
        indices: int64 [K], ascending: indices of these frames in the video.
        times: float64 [N], ascending: presentation time of every frame of the video, seconds.
    """

    frames: NDArray[np.uint8]
    indices: NDArray[np.int64]
    times: NDArray[np.float64]

    @cached_property
    def blocks(self) -> Blocks:
        """Of every frame of the video; those that are not among `frames` are absent."""
        frames = np.zeros((len(self.times), *self.frames.shape[1:]), np.uint8)
        frames[self.indices] = self.frames
        present = np.zeros(len(self.times), bool)
        present[self.indices] = True
        return split_blocks(frames, present)


@dataclass(frozen=True, slots=True, eq=False)
class PairAlignment:
    """Which frames of a fake and its original show the same moment.

    Attributes:
        kind: how the fake follows the original.
        real_of: int64 [M], for each frame of the fake the real frame that it shows; -1 for none.
        fake_of: int64 [N], for each frame of the original the fake frame that shows it; -1 for none.
        alike: bool [M], whether the neighbouring real frames would fit this fake frame equally well.
        doubtful: bool [N], real frames that a fake frame may show, but not with certainty.
        offsets: (first fake frame, offset) of each stretch in step; fake frame = real frame + offset, relative to
            the match by time.
        residual: root mean squared luma difference outside the forged region, gray levels of the thumbnails.
        gain, level: `gain * fake + level` has the original's contrast and brightness.
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
        """Whether masks may be made with this alignment."""
        return self.kind not in (AlignmentKind.REFUSED, AlignmentKind.UNKNOWN)

    def settled(self, indices: NDArray[np.int64]) -> bool:
        """Whether all of these fake frames [K], except those past the original's end, match a frame of it."""
        shown = self.real_of[indices] >= 0
        return bool(shown.any() and shown[: np.flatnonzero(shown)[-1] + 1].all())


def align_pair(real: Thumbnails, fake: Thumbnails) -> PairAlignment:
    """Find the real frame that every frame of a fake shows.

    Args:
        real: preferably of every frame of the original.
        fake: of the decoded frames of the fake; the matches of other frames are interpolated.

    Raises:
        ValueError: the arrays' shapes do not match.
    """
    for video in (real, fake):
        if video.frames.ndim != 3 or len(video.frames) != len(video.indices) or video.frames.dtype != np.uint8:
            raise ValueError(f"Thumbnails {video.frames.dtype} {list(video.frames.shape)}: pass uint8 [K, h, w].")
    if not len(real.frames) or not len(fake.frames):
        return _without(AlignmentKind.UNKNOWN, real, fake, "no frame of it, or of its original, decodes")
    frames = _same_size(fake.frames, real.frames.shape[1:])
    if frames is None:
        ratios = " and ".join(f"{video.frames.shape[2]}:{video.frames.shape[1]}" for video in (fake, real))
        return _without(AlignmentKind.REFUSED, real, fake, f"its aspect ratio and its original's are {ratios}")
    fake = Thumbnails(frames, fake.indices, fake.times)
    # Nearly every pair is in step: a wide search over few frames and a narrow one over all frames suffice to show it,
    # and take less time where there are many.
    if len(fake.frames) > MANY:
        few = Thumbnails(fake.frames[::FEW], fake.indices[::FEW], fake.times)
        found = [_Comparison(real, few, WIDEST_REACH).alignment(), _Comparison(real, fake, LEAST_REACH).alignment()]
        if all(one.kind is AlignmentKind.IN_STEP and one.settled(few.indices) for one in found):
            return found[-1]
    return _Comparison(real, fake, WIDEST_REACH).alignment()


class _Comparison:
    """Aligns two videos whose thumbnails have the same size."""

    def __init__(self, real: Thumbnails, fake: Thumbnails, reach: int) -> None:
        self.real, self.fake, self.reach = real, fake, reach
        self.originals = real.blocks
        forged = split_blocks(fake.frames, np.ones(len(fake.frames), bool))
        self.predicted = predict_frames(real.times, fake.times)  # [M]
        steps = frame_interval(real.times), frame_interval(fake.times)
        self.clocks_differ = min(steps) > 0 and abs(steps[0] / steps[1] - 1) > SAME_RATE
        self.unsure = np.zeros(len(fake.times), bool)
        self.weight = float(fake.indices[-1] - fake.indices[0] + 1) / len(fake.indices)  # frames per compared frame
        # From the mean images of both videos, which hardly depend on the alignment in time.
        self.gain, self.level = fit_levels(self.originals.mean, forged.mean)
        self.forged = forged
        if (self.gain, self.level) != (1, 0):
            pixels = np.multiply(forged.pixels, self.gain, out=forged.pixels)
            self.forged = Blocks(np.add(pixels, self.level, out=pixels), forged.present)

    def alignment(self) -> PairAlignment:
        expected = self.predicted[self.fake.indices]
        costs = band_costs(self.originals, self.forged, expected, self.reach, self.weight)
        path, extra_cost = best_path(costs, clocks_differ=self.clocks_differ)
        if self.clocks_differ:
            costs = self._match_rounding(costs, path)
            expected = self.predicted[self.fake.indices]
            path, extra_cost = best_path(costs, clocks_differ=True)
        offsets = path - self.reach
        matched = expected + offsets  # [K]
        inside = (matched >= 0) & (matched < len(self.real.times))
        inside[inside] = self.originals.present[matched[inside]]
        if inside.sum() < LEAST_OVERLAP * len(expected) * min(1.0, len(self.real.times) / len(self.fake.times)):
            return self._refused(f"only {inside.sum()} of {len(expected)} frames compared lie within its original")
        both = matched[inside], np.flatnonzero(inside)
        squares, reason, certain = compare_content(self.originals.pixels, self.forged.pixels, *both)
        if reason:
            kind = AlignmentKind.REFUSED if certain else AlignmentKind.UNKNOWN
            return _without(kind, self.real, self.fake, reason)
        usual = float(np.median(squares))
        odd = np.zeros(len(offsets), bool)
        odd[inside] = squares > np.maximum(ODD * usual, ODD_LEVELS**2)
        if odd.sum() > 0.5 * inside.sum():
            return self._refused(f"{odd.sum()} of {inside.sum()} frames compared show other content")
        good = inside & ~odd
        back = -np.diff(matched[good])
        if (back > 1).sum() > 1 or (back > SLIP).any():
            return self._refused("its frames are in another order")
        turns = np.count_nonzero(np.diff(offsets[good]))
        if not self.clocks_differ and turns >= STRETCHES[0] + len(expected) / STRETCHES[1]:
            return self._refused(f"it falls out of step {turns} times in {len(expected)} frames")
        if np.abs(offsets[good]).max() > MAX_OFFSET and not self._still(costs):
            return self._refused(f"it is off by more than {MAX_OFFSET} frames")
        alike = _looks_alike(costs / np.float32(self.weight), path)
        alternatives = extra_cost < CERTAIN
        # Neighbours that look alike may be confused with each other, but other frames must not be matched by them.
        harmless = alike[:, None] & (np.abs(np.arange(alternatives.shape[1]) - path[:, None]) <= 1)
        about = np.asarray(alternatives.any(axis=1))
        there = np.asarray((alternatives & ~harmless).any(axis=1))
        return self._spread(offsets, ~inside | odd, (about, there), alike, float(np.sqrt(usual)))

    def _match_rounding(self, costs: NDArray[np.float32], path: NDArray[np.int64]) -> NDArray[np.float32]:
        """Repeat the prediction with the best sub-frame delay (from rounding in the rate change); returns its costs."""
        frame_time = frame_interval(self.real.times)
        smooth = median_filter(path, size=min(15, len(path)), mode="nearest")
        rows, last = np.arange(len(path)), costs.shape[1] - 1
        guesses = np.stack([predict_frames(self.real.times, self.fake.times, late * frame_time) for late in ROUNDINGS])
        moved = (guesses - self.predicted)[:, self.fake.indices]  # [guesses, K]
        total = costs[rows, np.clip(smooth + moved, 0, last)].sum(axis=1)
        chosen = int(total.argmin())
        # Frames that were not decoded are matched only if all equally good guesses agree.
        as_good = guesses[total <= total[chosen] + JUMP / 2]
        self.unsure = (as_good != guesses[chosen]).any(axis=0)
        self.predicted = guesses[chosen]
        return np.take_along_axis(costs, np.clip(np.arange(last + 1) + moved[chosen][:, None], 0, last), axis=1)

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
        """Extend the matches of the compared fake frames to all frames of both videos."""
        count, total = len(self.real.times), len(self.fake.times)
        every = np.arange(total)
        before = np.clip(np.searchsorted(self.fake.indices, every, side="right") - 1, 0, None)
        after = np.clip(np.searchsorted(self.fake.indices, every, side="left"), None, len(offsets) - 1)
        places = self.predicted + np.stack([offsets[before], offsets[after]])  # [2, M]
        real_of = places[0]
        # Between two stretches, the frame at which the first one ends is unknown.
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
    """Thumbnails resized to `shape`; None if the sizes differ by more than rounding."""
    if frames.shape[1:] == shape:
        return frames
    if max(abs(own - other) for own, other in zip(frames.shape[1:], shape, strict=True)) > 1:
        return None
    return np.stack([cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_LINEAR) for frame in frames])


def _looks_alike(costs: NDArray[np.float32], path: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the real frames before and after the matched one fit equally well [K]."""
    rows = np.arange(len(path))
    sides = [costs[rows, np.clip(path + step, 0, costs.shape[1] - 1)] for step in (-1, 1)]
    return np.asarray(np.maximum(*sides) - costs[rows, path] < ALIKE)
