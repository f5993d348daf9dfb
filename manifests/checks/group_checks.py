"""Checks of groups of rows of samples.parquet: those of one video, one track or one image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill.manifests.checks.columns import Converted, Mask, codes, first_rows, pc
from facemill.manifests.checks.row_checks import RowCheck
from facemill.manifests.checks.sample_rows import Rows

__all__ = ["GROUP_CHECKS"]


def _repeated_ids(rows: Rows) -> Mask:
    """The first row of each duplicate sample_id."""
    return _first_of(codes(rows["sample_id"]), _uses(rows) > 1)


def _uses(rows: Rows) -> NDArray[np.int64]:
    ids = codes(rows["sample_id"])
    return np.bincount(ids)[ids] if len(ids) else ids


def _earlier(rows: Rows) -> Mask:
    """Rows whose time is less than that of an earlier frame of the same video, or not that of the same frame."""
    order = np.lexsort((rows.numbers("frame_index"), rows.video_codes))
    video, frame, time = (values[order] for values in (rows.video_codes, *map(rows.numbers, ("frame_index", "pts_s"))))
    broken = np.zeros(len(rows), bool)
    other = (time[1:] != time[:-1]) & (frame[1:] == frame[:-1])
    broken[order[1:]] = (video[1:] == video[:-1]) & (other | (time[1:] < time[:-1]))
    return broken


def _same_face(rows: Rows) -> Mask:
    """Rows with the same face box in the same frame as an earlier row, in another track."""
    place = np.column_stack([rows.video_codes, rows.numbers("frame_index"), rows.numbers("bbox")])
    if not len(place):
        return np.zeros(0, bool)
    _, first, group = np.unique(place, axis=0, return_index=True, return_inverse=True)
    track = rows.numbers("track_id")
    return np.asarray(track != track[first[group.reshape(-1)]])


def _frames(rows: Rows) -> NDArray[np.int64]:
    """Number of distinct frames with samples in each row's video, [N]."""
    return _distinct(rows.video_codes, rows.numbers("frame_index"))


def _in_two_splits(rows: Rows) -> Mask:
    """The first row of each image that is in two splits."""
    image = codes(rows["pixels"])
    return _first_of(image, _distinct(image, codes(rows["split"])) > 1)


def _other_splits(rows: Rows) -> dict[str, Any]:
    found = rows.table.select(["pixels", "split"]).group_by("pixels").aggregate([("split", "distinct")])
    at = pc.index_in(rows["pixels"], value_set=found["pixels"])
    return {"splits": Converted(found["split_distinct"].take(at), lambda splits: " and ".join(sorted(splits)))}


def _distinct(group: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of distinct values in each row's group, [N]."""
    pairs = np.unique(np.stack([group, values]), axis=1)
    return np.bincount(pairs[0])[group] if len(group) else group


def _first_of(group: NDArray[np.int64], broken: Mask) -> Mask:
    """The first broken row of each group that has one."""
    first = np.zeros(len(group), bool)
    first[first_rows(group, broken)] = True
    return first


GROUP_CHECKS: tuple[RowCheck, ...] = (
    RowCheck("unique_id", "this sample_id is used {uses} times", _repeated_ids, lambda rows: {"uses": _uses(rows)}),
    RowCheck("times_rise", "pts_s is {pts_s:g}, less than at an earlier frame of its video, or unlike its frame's",
             _earlier),
    RowCheck("same_face", "another track of the same frame has the same face box", _same_face),
    RowCheck("frames", "its video has samples of {frames} frames, and the recipe takes {recipe.sample.frames} at most",
             lambda rows: _first_of(rows.video_codes, _frames(rows) > (rows.recipe.sample.frames or np.inf)),
             lambda rows: {"frames": _frames(rows)}),
    RowCheck("picture_split", "an identical image is in more than one split: {splits}", _in_two_splits, _other_splits),
)  # fmt: skip
"""All rules for groups of rows; `row_checks` has those for single rows."""
