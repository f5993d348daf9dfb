"""Checks of each row of samples.parquet against its recipe, its video, and its original's sample.

A check has a name, a message for a row that breaks it, and a function of all rows at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from facemill.manifests.checks.columns import Converted, broken_rows, mask, pc
from facemill.manifests.checks.face_rules import (
    HALF_PIXEL,
    box_outside,
    crop_error,
    landmarks_off,
    landmarks_swapped,
    no_similarity,
    sides,
    unsteady,
    where_in_crop,
)
from facemill.manifests.checks.sample_rows import Rows, differs
from facemill.manifests.codes import LabelSource, MaskKind
from facemill.manifests.problem import Problem
from facemill.manifests.records import within

__all__ = ["ROW_CHECKS", "RowCheck", "check_rows"]

Mask = Any  # NDArray[np.bool_], [N]: too complex for type inference

KINDS: dict[str, tuple[str, ...]] = {
    "difference": (MaskKind.DIFFERENCE, MaskKind.ZEROS, MaskKind.NONE, MaskKind.UNRELIABLE),
    "official": (MaskKind.OFFICIAL, MaskKind.ZEROS, MaskKind.NONE, MaskKind.UNRELIABLE),
    "both": tuple(MaskKind),
}
"""Allowed kinds of masks, by the recipe's `mask.source`."""
AFFINE_POWERS = np.array([-1, -1, 0, -1, -1, 0])
"""How an affine of equal crops depends on the size of the frame: its linear part maps pixels of the frame."""


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A rule for rows.

    Attributes:
        sentence: message template for a broken row; fields are the row's values by name, and `{recipe.…}`.
        broken: which rows break the rule, [N].
        extra: additional values for the message, by name, each [N].
    """

    name: str
    sentence: str
    broken: Callable[[Rows], Mask]
    extra: Callable[[Rows], dict[str, Any]] = lambda rows: {}


def check_rows(rows: Rows, checks: "tuple[RowCheck, ...] | None" = None) -> Iterator[Problem]:
    with np.errstate(all="ignore"):
        for check in ROW_CHECKS if checks is None else checks:
            shown = list(broken_rows(check.broken(rows)))
            extra = check.extra(rows) if shown else {}
            for position, more in shown:
                row = rows.values(position)
                values = {**row, **{name: column[position] for name, column in extra.items()}, "recipe": rows.recipe}
                message = check.sentence.format(**values)
                yield Problem(row["shard"], message, row["row"], row["sample_id"], check.name, more)


# Names and numbers ------------------------------------------------------------------------------------


def _odd_id(rows: Rows) -> Mask:
    frame, track = (pc.cast(rows[name], pa.string()) for name in ("frame_index", "track_id"))
    expected = pc.binary_join_element_wise(rows["video_id"], "-f", pc.utf8_lpad(frame, 6, "0"), "-t", track, "")
    return differs(rows["sample_id"], expected)


def _outside(name: str, low: float, high: float) -> Callable[[Rows], Mask]:
    """A rule that a number, if not null, lies in a range; numbers that are not finite never do."""

    def broken(rows: Rows) -> Mask:
        values = rows.numbers(name)
        return rows.known(name) & ~((values >= low) & (values <= high))

    return broken


def _not_finite(name: str) -> Callable[[Rows], Mask]:
    return lambda rows: ~np.isfinite(rows.numbers(name)).all(axis=1)


def _unlike_video(name: str) -> Callable[[Rows], Mask]:
    return lambda rows: (rows.video_row >= 0) & differs(rows[name], rows.of_video(name))


def _video_value(name: str) -> Callable[[Rows], dict[str, Any]]:
    def as_recorded(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    return lambda rows: {"expected": Converted(rows.of_video(name), as_recorded)}


def _odd_label(rows: Rows) -> Mask:
    """A fake video may have real faces if the evidence is its pixels; a real video has no fake faces."""
    unforged = rows.equal("label", 0) & ~rows.equal("label_source", "video")
    return _unlike_video("label")(rows) & ~unforged


def _kept_unforged(rows: Rows) -> Mask:
    """Faces of a fake with the label real, although the recipe drops them or gives them the video's label."""
    label = rows.recipe.label
    if label is None or label.unforged == "keep_as_real":
        return np.zeros(len(rows), bool)
    return rows.equal("label", 0) & ~rows.equal("method", "real")


def _against_periods(rows: Rows) -> Mask:
    """Faces labelled as forged at times when their video is not, or as real when it is, or of a video without times."""
    periods = rows.of_video("fake_periods")
    found: Mask = rows.equal("label_source", LabelSource.PERIODS) & (rows.video_row >= 0)
    label = rows.recipe.label
    if label is not None and label.unforged == "keep_as_fake":
        return found
    # Images have no times.
    known = mask(pc.and_(pc.is_valid(periods), pc.is_null(rows.of_video("content"))))
    found = found & ~known
    times, labels = rows.numbers("pts_s"), rows["label"].to_numpy()
    by_periods = rows.equal("label_source", LabelSource.PERIODS)
    for place in np.flatnonzero(known & ~rows.cropped):
        forged = within(periods[int(place)].as_py(), times[place])
        found[place] = forged if by_periods[place] else labels[place] == 1 and not forged
    return found


# Originals --------------------------------------------------------------------------------------------


def _pairless(rows: Rows) -> Mask:
    """Rows whose pair_offset leads to no sample of the original, unless the loss of that one is recorded."""
    recorded = mask(pc.is_in(rows["source_id"], value_set=rows.incomplete))
    return rows.known("pair_offset") & ~rows.paired & ~rows.apart & ~recorded


def _unlike_original(name: str) -> Callable[[Rows], Mask]:
    def broken(rows: Rows) -> Mask:
        if rows.recipe.detect.on == "each":  # fakes have their own detections
            return np.zeros(len(rows), bool)
        resized = rows.resized[:, None]
        # A fake of another frame size has the original's faces in its own pixels, and affines made of rounded ones.
        expected = rows.of_original(name) * (resized ** (AFFINE_POWERS if name == "affine" else 1))
        tolerance = np.where(resized == 1, 1e-6, 1e-4) * np.maximum(np.abs(rows.numbers(name)), 1)
        return np.asarray(~(np.abs(rows.numbers(name) - expected) <= tolerance).all(axis=1))

    return broken


def _same_image(rows: Rows) -> Mask:
    theirs = rows["pixels"].take(pa.array(np.maximum(rows.original, 0)))
    return rows.paired & rows.equal("label", 1) & ~differs(rows["pixels"], theirs)


# Masks ------------------------------------------------------------------------------------------------


def _lacks_ground_truth(rows: Rows) -> Mask:
    by_mask = rows.equal("label_source", LabelSource.MASK)
    without = mask(pc.is_null(rows.of_video("mask_path")))
    used = (rows.equal("mask_kind", MaskKind.OFFICIAL) | by_mask) & (rows.video_row >= 0) & without
    return used | (by_mask & (rows.recipe.mask.source == "difference"))


def _odd_coverage(rows: Rows) -> Mask:
    zeros = rows.equal("mask_kind", MaskKind.ZEROS)
    covered = zeros & (rows.numbers("mask_coverage") > 0)
    return (rows.known("mask_coverage") == rows.equal("mask_kind", MaskKind.NONE)) | covered


def _frame_missing(rows: Rows) -> Mask:
    """Rows of real videos whose frame index is not in step with the stride."""
    every = rows.recipe.sample.every
    if rows.recipe.sample.strategy != "stride" or every is None:
        return np.zeros(len(rows), bool)
    alone = rows.equal("label", 0) & ~rows.known("source_id")
    in_step = rows.numbers("frame_index") % every
    first = np.full(int(rows.video_codes.max(initial=-1)) + 1, every)
    np.minimum.at(first, rows.video_codes, in_step)
    return alone & (in_step != first[rows.video_codes])


ROW_CHECKS: tuple[RowCheck, ...] = (
    RowCheck("crop_size", "crop_size is {crop_size}, the recipe's is {recipe.crop.size}",
             lambda rows: ~rows.equal("crop_size", rows.recipe.crop.size)),
    RowCheck("sample_id", "its sample_id is not made of its video {video_id}, frame {frame_index} and track {track_id}",
             _odd_id),
    *(
        RowCheck(f"video_{name}", f"{name} is {{{name}!r}}, but {{expected!r}} for its video", _unlike_video(name),
                 _video_value(name))
        for name in ("dataset", "method", "quality", "source_id", "subject_ids", "attributes")
    ),
    RowCheck("video_label", "label is {label} by its {label_source}, but {expected} for its video", _odd_label,
             _video_value("label")),
    RowCheck("unforged", "label is 0 in a fake, but the recipe's label.unforged is {recipe.label.unforged}",
             _kept_unforged),
    RowCheck("periods", "label is {label} by its {label_source} at {pts_s:g} s, unlike the fake_periods of its video",
             _against_periods),
    RowCheck("frame_index", "frame_index is {frame_index}, which is below 0", _outside("frame_index", 0, np.inf)),
    RowCheck("stride", "frame_index is {frame_index}, which is not in steps of {recipe.sample.every}", _frame_missing),
    RowCheck("track_id", "track_id is {track_id}, which is below 0", _outside("track_id", 0, np.inf)),
    RowCheck("pts_s", "pts_s is {pts_s:g}, which is not a valid time", _outside("pts_s", -1, 1e7)),
    RowCheck("score", "score is {score:g}, which is not from 0 to 1", _outside("score", 0, 1)),
    RowCheck("min_score", "score is {score:g}, below the recipe's {recipe.detect.min_score:g}",
             lambda rows: ~rows.cropped & (rows.numbers("score") < rows.recipe.detect.min_score - 1e-6)),
    RowCheck("difference", "difference is {difference}, which is not from 0 to 1000", _outside("difference", 0, 1000)),
    RowCheck("difference_forged", "label is 1 by its difference {difference:g}, which is not above the noise of 1",
             lambda rows: rows.equal("label", 1) & rows.equal("label_source", "difference")
             & (rows.numbers("difference") <= 1)),
    RowCheck("difference_of", "difference is {difference:g}, but the sample has no original",
             lambda rows: rows.known("difference") & ~rows.known("pair_offset")),
    RowCheck("difference_label", "label_source is 'difference', but difference is null",
             lambda rows: rows.equal("label_source", "difference") & ~rows.known("difference")),
    RowCheck("bbox_finite", "bbox has a number that is not finite", _not_finite("bbox")),
    RowCheck("bbox_area", "bbox {bbox} has no area", lambda rows: ~(sides(rows) > 0).all(axis=1)),
    RowCheck("bbox_frame", "bbox {bbox} lies outside the frame",
             lambda rows: (rows.numbers("bbox")[:, :2] + rows.numbers("bbox")[:, 2:] < 0).any(axis=1)),
    RowCheck("min_face", "its face of {side:g} pixels is below the recipe's min_face {recipe.filter.min_face:g}",
             lambda rows: ~rows.cropped & ~rows.known("source_id")
             & (sides(rows).min(axis=1) < rows.recipe.filter.min_face - 1e-3),
             lambda rows: {"side": sides(rows).min(axis=1)}),
    RowCheck("landmarks_finite", "landmarks has a number that is not finite", _not_finite("landmarks")),
    RowCheck("landmarks_box", "a landmark lies outside the face box", landmarks_off),
    RowCheck("landmarks_order", "the landmarks are not in order: left and right, or eyes, nose and mouth, are swapped",
             landmarks_swapped),
    RowCheck("affine_finite", "affine has a number that is not finite", _not_finite("affine")),
    RowCheck("affine_similarity", "affine is not a similarity without reflection", no_similarity),
    RowCheck("affine_box", "affine does not map {what} into the crop: it is mapped to x {left:.1f} to {right:.1f}, "
             "y {top:.1f} to {bottom:.1f} of 0 to {recipe.crop.size}", box_outside, where_in_crop),
    RowCheck("affine_recipe", "affine does not match the recipe: the crop is off by {off:.1f} pixels",
             lambda rows: crop_error(rows) > HALF_PIXEL, lambda rows: {"off": crop_error(rows)}),
    RowCheck("affine_steady", "affine differs from that of its track's frame before, but the recipe's crops are steady",
             unsteady),
    RowCheck("pair", "its original {source_id} has no sample of the frame that pair_offset {pair_offset} leads to",
             _pairless),
    *(
        RowCheck(f"pair_{name}", f"{name} differs from its original's sample", _unlike_original(name))
        for name in ("bbox", "landmarks", "affine")
    ),
    RowCheck("pair_picture", "its image is identical to its original's, but its label is fake", _same_image),
    RowCheck("mask_kind", "mask_kind is {mask_kind} for label {label}",
             lambda rows: rows.equal("label", 0) != rows.equal("mask_kind", MaskKind.ZEROS)),
    RowCheck("mask_source", "mask_kind is {mask_kind}, which the recipe's mask.source {recipe.mask.source} excludes",
             lambda rows: ~np.isin(rows["mask_kind"].to_numpy(), KINDS[rows.recipe.mask.source])),
    RowCheck("ground_truth", "mask_kind is {mask_kind} and label_source {label_source}, but its video has no mask_path "
             "or the recipe does not use it", _lacks_ground_truth),
    RowCheck("mask_coverage", "mask_coverage is {mask_coverage} for mask_kind {mask_kind}", _odd_coverage),
    RowCheck("coverage_range", "mask_coverage is {mask_coverage:g}, which is not from 0 to 1",
             _outside("mask_coverage", 0, 1)),
    RowCheck("mask_iou", "mask_iou is {mask_iou:g}, but the recipe does not use two masks",
             lambda rows: rows.known("mask_iou")
             & ~(rows.equal("mask_kind", MaskKind.OFFICIAL) & (rows.recipe.mask.source == "both"))),
    RowCheck("iou_range", "mask_iou is {mask_iou:g}, which is not from 0 to 1", _outside("mask_iou", 0, 1)),
)  # fmt: skip
"""All rules for single rows."""
