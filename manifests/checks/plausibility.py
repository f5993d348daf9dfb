"""Checks for possible but implausible properties of a dataset: each finding is a warning, for a person to review.

A check is a function of all rows, as in `row_checks`; values beyond the bounds below are reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facemill.manifests.checks.framing import geometry_tells
from facemill.manifests.checks.sample_checks import THUMBNAIL
from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.codes import MaskKind
from facemill.manifests.problem import Problem
from facemill.manifests.shards.dataset import SAMPLES_FILE, VIDEOS_FILE

__all__ = ["Thumbnails", "implausible"]

pc: Any = pyarrow.compute
"""Untyped: the stubs support neither columns of two types nor nulls."""

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

FULL = 0.98
"""Share of the crop at and above which a mask is reported as full."""
FAINT = 0.01
"""Median share of the crop below which a method's masks are reported as nearly empty."""
OUTLIER_SIGMAS, OUTLIER_FACTOR, LEAST_VIDEOS = 4.0, 3.0, 5
"""A video's coverage is an outlier if it differs from its method's median by this many robust standard deviations and
by this factor; methods with fewer videos are not checked."""
SIZE_JUMP = 2.0
"""Largest plausible ratio between the face box sizes of consecutive samples of a track."""
APPEARANCE_JUMP = 0.2
"""Correlation of the thumbnails of consecutive samples of a track below which they show different faces."""
COLOUR_SHIFT, SAME_SIGN = 3.0, 0.9
"""Difference in levels between the colours of a method's videos and of their originals, and share of the videos with
the same sign: above both, files were converted in two ways, and colour predicts the label."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Thumbnails of the samples' images, for the rows of a table.

    Attributes:
        pixels: uint8 [N, P]; zeros if there is none.
    """

    pixels: NDArray[np.uint8]

    @classmethod
    def of(cls, shards: "list[tuple[pa.Table, NDArray[np.uint8]]]", rows: Rows) -> "Thumbnails":
        """Arrange the thumbnails of the shards' samples in the order of the rows."""
        ids = pa.chunked_array([samples["sample_id"].combine_chunks() for samples, _ in shards], pa.string())
        stacked = [thumbnails.reshape(-1, 3 * THUMBNAIL**2) for _, thumbnails in shards]
        black = np.zeros((1, 3 * THUMBNAIL**2), np.uint8)
        at = np.asarray(pc.fill_null(pc.index_in(rows["sample_id"], value_set=ids), -1).to_numpy(), np.int64)
        return cls(np.concatenate([*stacked, black])[at])

    def alike(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
        """Correlation of the images at two lists of positions; 1 if one of them is missing."""
        found = np.ones(len(left))
        for start in range(0, len(left), 1 << 16):
            part = slice(start, start + (1 << 16))
            a, b = (self.pixels[positions[part]].astype(np.float32) for positions in (left, right))
            shown = a.any(axis=1) & b.any(axis=1)
            a, b = (pixels - pixels.mean(axis=1, keepdims=True) for pixels in (a, b))
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            found[part] = np.where(shown, (a * b).sum(axis=1) / np.maximum(norms, 1e-6), 1.0)
        return found


def implausible(rows: Rows, videos: pa.Table | None, thumbnails: Thumbnails) -> Iterator[Problem]:
    """All implausible properties of the rows."""
    if not len(rows):
        return
    yield from _empty_and_full_masks(rows)
    yield from _coverage(rows)
    yield from _faint_methods(rows)
    yield from _same_images(rows)
    yield from _jumps(rows, thumbnails)
    yield from geometry_tells(rows)
    yield from _colours(rows, thumbnails)
    if videos is not None:
        yield from _same_files(videos)


# Masks ------------------------------------------------------------------------------------------------


def _masked(rows: Rows) -> Mask:
    """Fakes with a reliable mask."""
    known = rows.equal("mask_kind", MaskKind.DIFFERENCE) | rows.equal("mask_kind", MaskKind.OFFICIAL)
    return rows.equal("label", 1) & known


def _empty_and_full_masks(rows: Rows) -> Iterator[Problem]:
    """Videos with empty or full masks: one warning per video."""
    coverage = rows.numbers("mask_coverage")
    for check, what, odd in (("empty_masks", "empty", coverage == 0), ("full_masks", "full", coverage >= FULL)):
        masked = _masked(rows)
        counts = np.bincount(rows.video_codes[masked & odd], minlength=rows.video_codes.max() + 1)
        totals = np.bincount(rows.video_codes[masked], minlength=len(counts))
        for position in _first_rows(rows.video_codes, counts > 0):
            video = rows.video_codes[position]
            message = f"{counts[video]} of {totals[video]} masks of the fake {_word(rows, 'video_id', position)}"
            yield Problem(SAMPLES_FILE, f"{message} are {what}", check=check)


def _video_coverage(rows: Rows) -> tuple[NDArray[np.int64], Floats]:
    """First row of each video with masks, and the video's median coverage."""
    masked = np.flatnonzero(_masked(rows))
    coverage, video = rows.numbers("mask_coverage")[masked], rows.video_codes[masked]
    order = np.lexsort((coverage, video))
    starts = np.flatnonzero(np.diff(video[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    return masked[order[starts]], coverage[order[starts + counts // 2]].astype(np.float64)


def _coverage(rows: Rows) -> Iterator[Problem]:
    """Videos whose masks are much larger or smaller than those of their method's other videos."""
    positions, medians = _video_coverage(rows)
    methods = rows["method"].to_numpy()[positions]
    logs = np.log(medians + FAINT / 2)  # the offset keeps the logarithm of empty masks finite
    for method in dict.fromkeys(methods):
        members = np.flatnonzero(methods == method)
        if len(members) < LEAST_VIDEOS:
            continue
        off = logs[members] - np.median(logs[members])
        spread = 1.4826 * np.median(np.abs(off))
        bound = max(OUTLIER_SIGMAS * spread, np.log(OUTLIER_FACTOR))
        usual = np.median(medians[members])
        for member in members[np.abs(off) > bound]:
            video = _word(rows, "video_id", positions[member])
            message = (
                f"the masks of video {video} cover {medians[member]:.1%} of the crop, those of {method} {usual:.1%}"
            )
            yield Problem(SAMPLES_FILE, message, check="coverage_outlier")


def _faint_methods(rows: Rows) -> Iterator[Problem]:
    positions, medians = _video_coverage(rows)
    methods = rows["method"].to_numpy()[positions]
    for method in dict.fromkeys(methods):
        if (usual := float(np.median(medians[methods == method]))) < FAINT:
            message = f"the masks of method {method} cover {usual:.2%} of the crop in the median video"
            yield Problem(SAMPLES_FILE, message, check="faint_method")


# Images -----------------------------------------------------------------------------------------------


def _same_images(rows: Rows) -> Iterator[Problem]:
    """Reals with the same image as a fake."""
    real = rows.equal("label", 0)
    hashes = rows["image_sha256"]
    of_fakes = hashes.filter(pa.array(~real))
    shared = np.asarray(pc.is_in(hashes, value_set=of_fakes).to_numpy()) & real
    for position in _first_rows(rows.video_codes, _any_by(rows.video_codes, shared)):
        count = int((shared & (rows.video_codes == rows.video_codes[position])).sum())
        message = f"{count} images of the real {_word(rows, 'video_id', position)} are identical to those of a fake"
        yield Problem(SAMPLES_FILE, message, check="real_is_fake")


def _same_files(videos: pa.Table) -> Iterator[Problem]:
    """Real videos whose file is identical to that of a fake."""
    real = pc.equal(videos["label"], 0)
    of_fakes = videos.filter(pc.invert(real))["content_hash"].drop_null()
    shared = videos.filter(pc.and_(real, pc.is_in(videos["content_hash"], value_set=of_fakes)))
    for video_id in shared["video_id"].to_pylist():
        message = f"the file of the real video {video_id} is identical to that of a fake"
        yield Problem(VIDEOS_FILE, message, check="real_file_is_fake")


def _jumps(rows: Rows, thumbnails: Thumbnails) -> Iterator[Problem]:
    """Tracks in which face size or appearance changes abruptly: one warning per track and kind."""
    order = np.lexsort((rows.numbers("frame_index"), rows.tracks))
    before, after = order[:-1], order[1:]
    same = (rows.tracks[before] == rows.tracks[after]) & ~rows.cropped[before]
    before, after = before[same], after[same]
    boxes = rows.numbers("bbox").astype(np.float64)
    side = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 1e-9)
    ratio = np.maximum(side[before] / side[after], side[after] / side[before])
    alike = thumbnails.alike(before, after)
    for check, odd, figure, what in (
        ("size_jump", ratio > SIZE_JUMP, ratio, "the face grows or shrinks {0:.1f}-fold"),
        ("appearance_jump", alike < APPEARANCE_JUMP, alike, "the image changes (correlation {0:.2f})"),
    ):
        for place in _first_rows(rows.tracks[after], _any_by(rows.tracks[after], odd), odd):
            position = after[place]
            frame = rows.numbers("frame_index")[before[place]]
            message = f"from frame {frame} of its track to this one {what.format(figure[place])}"
            row, sample = rows.numbers("row")[position], _word(rows, "sample_id", position)
            yield Problem(_word(rows, "shard", position), message, int(row), sample, check=check)


# Colours ---------------------------------------------------------------------------------------------


def _colours(rows: Rows, thumbnails: Thumbnails) -> Iterator[Problem]:
    """Methods whose crops differ in colour from their originals at the edge, where little is forged."""
    edge = np.ones((THUMBNAIL, THUMBNAIL), bool)
    edge[1:-1, 1:-1] = False
    means = thumbnails.pixels.reshape(-1, THUMBNAIL**2, 3)[:, edge.ravel()].mean(axis=1)  # [N, 3]
    pairs = np.flatnonzero(rows.paired & rows.equal("label", 1))
    shifts, methods = means[pairs] - means[rows.original[pairs]], rows["method"].to_numpy()[pairs]
    for method in dict.fromkeys(methods):
        _, video, count = np.unique(rows.video_codes[pairs][methods == method], return_inverse=True, return_counts=True)
        for name, shift in zip(("red", "green", "blue"), shifts[methods == method].T, strict=True):
            of_video = np.bincount(video, shift) / count
            usual = float(np.median(of_video))
            together = np.mean(of_video * usual > 0) > SAME_SIGN
            if len(count) >= LEAST_VIDEOS and abs(usual) > COLOUR_SHIFT and together:
                message = f"edges of crops of {method} differ by {usual:+.1f} levels of {name} from their originals"
                yield Problem(SAMPLES_FILE, message, check="colour_tells")


# ------------------------------------------------------------------------------------------------------


def _first_rows(group: NDArray[np.int64], wanted: Mask, rows: Mask | None = None) -> list[int]:
    """The first position of each wanted group, among `rows` only if given."""
    positions = np.arange(len(group)) if rows is None else np.flatnonzero(rows)
    codes, first = np.unique(group[positions], return_index=True)
    return [int(position) for code, position in zip(codes, positions[first], strict=True) if wanted[code]]


def _any_by(group: NDArray[np.int64], rows: Mask) -> Mask:
    """For each group number, whether any of its rows is in `rows`."""
    found = np.zeros(int(group.max(initial=-1)) + 1, bool)
    found[group[rows]] = True
    return found


def _word(rows: Rows, name: str, position: int) -> str:
    return str(rows[name][int(position)].as_py())
