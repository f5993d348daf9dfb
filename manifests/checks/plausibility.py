"""Checks for possible but implausible properties of a dataset: each finding is a warning, for a person to review.

A check is a function of all rows, as in `row_checks`; values beyond the bounds below are reported.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill.manifests.checks.columns import Mask, first_rows, mask, pc
from facemill.manifests.checks.face_rules import sides
from facemill.manifests.checks.framing import geometry_tells
from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.checks.seen import THUMBNAIL, Seen
from facemill.manifests.codes import MaskKind
from facemill.manifests.problem import Problem
from facemill.manifests.shards.dataset import SAMPLES_FILE, VIDEOS_FILE

__all__ = ["implausible"]

Floats = NDArray[np.float64]

FULL = 0.98
"""Share of the crop at and above which a mask is reported as full."""
OUTSIDE = 0.1
"""Share of the crop that a mask may cover outside of the face box, even if it covers less inside."""
BLANK = 4
"""Largest difference of a colour, in levels, between the parts of an image that shows nothing."""
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


def implausible(rows: Rows, videos: pa.Table, seen: Seen) -> Iterator[Problem]:
    if not len(rows):
        return
    yield from _odd_samples(rows, seen)
    yield from _coverage(rows)
    yield from _jumps(rows, seen)
    yield from geometry_tells(rows)
    yield from _colours(rows, seen)
    yield from _same_files(videos)


# Masks ------------------------------------------------------------------------------------------------


def _masked(rows: Rows) -> Mask:
    """Fakes with a reliable mask."""
    known = rows.equal("mask_kind", MaskKind.DIFFERENCE) | rows.equal("mask_kind", MaskKind.OFFICIAL)
    return rows.equal("label", 1) & known


def _odd_samples(rows: Rows, seen: Seen) -> Iterator[Problem]:
    """Videos with samples that are odd in one way: one warning per video and way."""
    coverage, masked, every, real = rows.numbers("mask_coverage"), _masked(rows), seen.there, rows.equal("label", 0)
    for check, things, what, odd, among in (
        ("empty_masks", "masks of the fake", "are empty", coverage == 0, masked),
        ("full_masks", "masks of the fake", "are full", coverage >= FULL, masked),
        ("masks_outside", "masks of the fake", "lie mostly outside of the face box", _outside(rows, seen), masked),
        ("blank_images", "images of", "show nothing", _blank(seen), every),
        ("video_shard", "samples of", "are in another shard than its first", _elsewhere(rows), every),
        ("real_is_fake", "images of the real", "are identical to those of a fake", _also_fakes(rows), real),
    ):
        counts, totals = (np.bincount(rows.video_codes[those]) for those in (among & odd, among))
        for position in first_rows(rows.video_codes, among & odd):
            video = rows.video_codes[position]
            message = f"{counts[video]} of {totals[video]} {things} {rows['video_id'][int(position)]} {what}"
            yield Problem(SAMPLES_FILE, message, check=check)


def _outside(rows: Rows, seen: Seen) -> Mask:
    """Masks of which the larger part, and a noticeable one, lies outside of the face box."""
    centres = (np.stack(np.meshgrid(*[np.arange(THUMBNAIL)] * 2), axis=-1).reshape(-1, 2) + 0.5) / THUMBNAIL
    affine, box = (rows.numbers(name).astype(np.float64) for name in ("affine", "bbox"))
    matrix, shift = affine.reshape(-1, 2, 3)[:, :, :2], affine.reshape(-1, 2, 3)[:, :, 2]
    odd = np.zeros(len(rows), bool)
    with np.errstate(all="ignore"):
        zoom = np.maximum((matrix**2).sum(axis=1).mean(axis=1), 1e-12)  # squared: the inverse is the transpose by it
        for start in range(0, len(rows), 1 << 14):
            part = slice(start, start + (1 << 14))
            points = centres * rows.numbers("crop_size")[part, None, None] - shift[part, None]  # [N, P, 2]
            points = points @ matrix[part] / zoom[part, None, None]
            inside = ((points >= box[part, None, :2]) & (points <= box[part, None, 2:])).all(axis=2)
            forged = seen.values["mask"][part].reshape(len(inside), -1) / 255
            outside = (forged * ~inside).mean(axis=1)
            odd[part] = (outside > OUTSIDE) & (outside > forged.mean(axis=1) / 2)
    return odd


def _video_coverage(rows: Rows) -> tuple[NDArray[np.int64], Floats]:
    """First row of each video with masks, and the video's median coverage."""
    masked = np.flatnonzero(_masked(rows))
    coverage, video = rows.numbers("mask_coverage")[masked], rows.video_codes[masked]
    order = np.lexsort((coverage, video))
    starts = np.flatnonzero(np.diff(video[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    return masked[order[starts]], coverage[order[starts + counts // 2]].astype(np.float64)


def _coverage(rows: Rows) -> Iterator[Problem]:
    """Methods whose masks are nearly empty, and videos whose masks are much larger or smaller than the method's."""
    positions, medians = _video_coverage(rows)
    methods = rows["method"].to_numpy()[positions]
    logs = np.log(medians + FAINT / 2)  # the offset keeps the logarithm of empty masks finite
    for method in dict.fromkeys(methods):
        members = np.flatnonzero(methods == method)
        if (usual := float(np.median(medians[members]))) < FAINT:
            message = f"the masks of method {method} cover {usual:.2%} of the crop in the median video"
            yield Problem(SAMPLES_FILE, message, check="faint_method")
        if len(members) < LEAST_VIDEOS:
            continue
        off = logs[members] - np.median(logs[members])
        spread = 1.4826 * np.median(np.abs(off))
        bound = max(OUTLIER_SIGMAS * spread, np.log(OUTLIER_FACTOR))
        for member in members[np.abs(off) > bound]:
            video = rows["video_id"][int(positions[member])]
            covered = f"{medians[member]:.1%} of the crop, those of {method} {usual:.1%}"
            message = f"the masks of video {video} cover {covered}"
            yield Problem(SAMPLES_FILE, message, check="coverage_outlier")


# Images -----------------------------------------------------------------------------------------------


def _blank(seen: Seen) -> Mask:
    """Images of one colour."""
    images = seen.values["image"].reshape(len(seen.values), -1, 3)
    return np.asarray(np.ptp(images, axis=1).max(axis=1) <= BLANK)


def _elsewhere(rows: Rows) -> Mask:
    """Samples in another shard than the first one of their video: a build keeps a clip group together."""
    shards = rows["shard"].to_numpy(zero_copy_only=False)
    _, first = np.unique(rows.video_codes, return_index=True)
    return np.asarray(shards != shards[first][rows.video_codes])


def _also_fakes(rows: Rows) -> Mask:
    """Reals with the same image as a fake."""
    real = rows.equal("label", 0)
    of_fakes = rows["pixels"].filter(pa.array(~real))
    return mask(pc.is_in(rows["pixels"], value_set=of_fakes)) & real


def _same_files(videos: pa.Table) -> Iterator[Problem]:
    """Real videos whose file is identical to that of a fake."""
    real = pc.equal(videos["label"], 0)
    of_fakes = videos.filter(pc.invert(real))["content_hash"].drop_null()
    shared = videos.filter(pc.and_(real, pc.is_in(videos["content_hash"], value_set=of_fakes)))
    for video_id in shared["video_id"].to_pylist():
        message = f"the file of the real video {video_id} is identical to that of a fake"
        yield Problem(VIDEOS_FILE, message, check="real_file_is_fake")


def _jumps(rows: Rows, seen: Seen) -> Iterator[Problem]:
    """Tracks in which face size or appearance changes abruptly: one warning per track and kind."""
    order = np.lexsort((rows.numbers("frame_index"), rows.tracks))
    before, after = order[:-1], order[1:]
    same = (rows.tracks[before] == rows.tracks[after]) & ~rows.cropped[before]
    before, after = before[same], after[same]
    side = np.maximum(sides(rows).max(axis=1), 1e-9)
    ratio = np.maximum(side[before] / side[after], side[after] / side[before])
    alike = seen.alike(before, after)
    for check, odd, figure, what in (
        ("size_jump", ratio > SIZE_JUMP, ratio, "the face grows or shrinks {0:.1f}-fold"),
        ("appearance_jump", alike < APPEARANCE_JUMP, alike, "the image changes (correlation {0:.2f})"),
    ):
        for place in first_rows(rows.tracks[after], odd):
            row, frame = rows.values(int(after[place])), rows.numbers("frame_index")[before[place]]
            message = f"from frame {frame} of its track to this one {what.format(figure[place])}"
            yield Problem(row["shard"], message, row["row"], row["sample_id"], check=check)


# Colours ---------------------------------------------------------------------------------------------


def _colours(rows: Rows, seen: Seen) -> Iterator[Problem]:
    """Methods whose crops differ in colour from their originals at the edge, where little is forged."""
    edge = np.ones((THUMBNAIL, THUMBNAIL), bool)
    edge[1:-1, 1:-1] = False
    means = seen.values["image"].reshape(-1, THUMBNAIL**2, 3)[:, edge.ravel()].mean(axis=1)  # [N, 3]
    pairs = np.flatnonzero(rows.paired & rows.equal("label", 1) & seen.there & seen.there[rows.original])
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
