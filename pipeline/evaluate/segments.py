"""Segments of partial fakes: proposals made of frames' scores, and their average precision and average recall.

As LAV-DF (Cai et al., CVIU 2023) and AV-Deepfake1M (Cai et al., ACM MM 2024) report temporal forgery localisation.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.table import Table
from scipy.special import expit

from facemill.manifests.schemas import VIDEOS
from facemill.manifests.shards.dataset import VIDEOS_FILE, read_dataset
from facemill.pipeline.data.split import read_listed
from facemill.pipeline.evaluate.intervals import summarise, weights_of
from facemill.pipeline.evaluate.scores import NO_CORRUPTION, name_groups
from facemill.pipeline.evaluate.terminal import add_bounds, name_cell, number_cells, number_table
from facemill.pipeline.evaluate.weighted import CELLS

__all__ = ["SEGMENT_METRICS", "judge_segments", "measure_segments", "propose", "segments_table"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_AP_IOUS = (0.5, 0.75, 0.9, 0.95)
_AR_COUNTS = (100, 50, 20, 10, 5)
_AR_IOUS = np.arange(50, 100, 5) / 100
SEGMENT_METRICS = (*(f"ap_{round(100 * iou)}" for iou in _AP_IOUS), *(f"ar_{count}" for count in _AR_COUNTS))
_SHOWN = ("ap_50", "ap_75", "ap_95", "ar_100", "ar_50", "ar_20", "ar_10")  # a terminal has 80 columns
_LEVELS = 20
"""Thresholds of a video's scores whose runs are proposals."""
_MARGIN = 0.25
"""Width of what a proposal is compared with on each side, as a share of its frames."""
_SHORT = 4
"""Frames of a proposal whose score is halved."""
_OVERLAP = 0.5
"""Variance of soft-NMS."""


class _Video(NamedTuple):
    """A video's forged periods [L, 2], seconds, the name of its clip group, and its proposals of each seed [P, 3]."""

    periods: Floats
    group: str
    proposals: Sequence[Floats]


def propose(times: Floats, frames: Integers, logits: Floats) -> Floats:
    """Propose the segments of a video in which it is forged, by the scores of its frames alone.

    Of 20 thresholds, evenly spaced from the lowest log-odds to below the highest, the runs of frames at or above each.
    A run's score is the mean probability of its n frames minus that of a quarter as many on both sides (the outer-inner
    contrast of AutoLoc, Shou et al., ECCV 2018), times n / (n + 4), since noise makes short runs stand out; only
    positive ones are kept. Gaussian soft-NMS (Bodla et al., ICCV
    2017) lowers the scores of proposals that overlap with better ones. A boundary between two sampled frames is halfway
    between the end of the first and the start of the second, which of consecutive frames is where they meet.

    Args:
        times: presentation times, seconds, ascending, [N].
        frames: indices of the same frames in the video, ascending, [N].
        logits: their log-odds, [N].

    Returns:
        start and end in seconds and score, the highest first, [P, 3], P at most 100; none without two frames of
        different times.
    """
    if len(times) < 2 or times[-1] <= times[0]:
        return np.zeros((0, 3))
    gaps = np.diff(times)
    shown = float(np.median(gaps / np.diff(frames)))
    edges = np.concatenate([times[:1], times[:-1] + (gaps + shown) / 2, times[-1:] + (np.median(gaps) + shown) / 2])
    levels = np.linspace(logits.min(), logits.max(), _LEVELS + 1)[:-1, None]
    above = np.pad(logits >= levels, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(above, axis=1)
    runs = np.unique(np.stack([np.nonzero(steps == 1)[1], np.nonzero(steps == -1)[1]], axis=1), axis=0)
    first, end = runs.T
    sums = np.concatenate([[0.0], np.cumsum(expit(logits))])
    width = np.maximum(np.round(_MARGIN * (end - first)), 1).astype(np.int64)
    before, after = np.maximum(first - width, 0), np.minimum(end + width, len(times))
    inner = sums[end] - sums[first]
    beside, count = sums[after] - sums[before] - inner, (after - before) - (end - first)
    scores = inner / (end - first) - beside / np.maximum(count, 1)
    scores *= (end - first) / (end - first + _SHORT)
    found = np.stack([edges[first], edges[end], scores], axis=1)
    return _soft_nms(found[(scores > 0) & (edges[end] > edges[first])])


def _soft_nms(proposals: Floats) -> Floats:
    left = proposals.copy()
    kept: list[Floats] = []
    while len(left) and len(kept) < max(_AR_COUNTS):
        best = int(left[:, 2].argmax())
        kept.append(left[best])
        left = np.delete(left, best, axis=0)
        left[:, 2] *= np.exp(-(_ious(left, kept[-1][None])[:, 0] ** 2) / _OVERLAP)
    return np.array(kept).reshape(-1, 3)


def _ious(proposals: Floats, periods: Floats) -> Floats:
    """Temporal intersection over union of proposals [P, 2 or more] and periods [L, 2 or more], [P, L]."""
    (start, end), (begin, stop) = proposals.T[:2, :, None], periods.T[:2, None]
    both = np.maximum(np.minimum(end, stop) - np.maximum(start, begin), 0)
    ious: Floats = both / np.maximum((end - start) + (stop - begin) - both, np.finfo(np.float64).tiny)
    return ious


def measure_segments(
    proposals: Sequence[Floats], periods: Sequence[Floats], groups: Integers, weights: Integers
) -> dict[str, Floats]:
    """Compute AP and AR of proposed segments, with each video counted as often as its group.

    AP at an IoU: the proposals of all videos by score; one is right if it is the best of its video with a higher IoU
    with a period; the area below the interpolated precision-recall curve. AR of N proposals: the share of periods that
    one of the N best of their video overlaps with a higher IoU, averaged over IoU of 0.5, 0.55, ... 0.95. As in the
    authors' code, except that their AP leaves out the area before the first right proposal and their later AR the
    periods of videos without proposals.

    Args:
        proposals: start, end and score of each video, the highest score first, [P, 3]; at most 100 count.
        periods: start and end of each video, disjoint, [L, 2]; L is 0 for a real video, whose proposals are wrong.
        groups: index of each video's group, [V].
        weights: of the groups, whole numbers, [R, G].

    Returns:
        [R] by metric of `SEGMENT_METRICS`, not a number where no period has weight.
    """
    count = weights.shape[1]
    right = [np.zeros((0, len(_AP_IOUS)), bool)]
    found = np.zeros((count, len(_AR_IOUS), len(_AR_COUNTS)))
    known = np.bincount(groups, [len(one) for one in periods], minlength=count)
    for ours, truth, group in zip(proposals, periods, groups, strict=True):
        ious = _ious(ours[: max(_AR_COUNTS)], truth)
        right.append(np.zeros((len(ious), len(_AP_IOUS)), bool))
        if not ious.size:
            continue
        for place, least in enumerate(_AP_IOUS):  # above 0.5, a proposal matches one of several disjoint periods only
            hits = ious > least
            right[-1][hits.argmax(0)[hits.any(0)], place] = True
        for place, most in enumerate(_AR_COUNTS):
            found[group, :, place] += (ious[:most].max(0) > _AR_IOUS[:, None]).sum(1)
    scores = np.concatenate([np.zeros(0), *(one[: max(_AR_COUNTS), 2] for one in proposals)])
    owner = np.repeat(groups, [len(one) for one in right[1:]])
    total = weights @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = (weights @ found.reshape(count, -1)).reshape(-1, *found.shape[1:]) / total[:, None, None]
        precision = _precision(scores, np.concatenate(right), owner, weights) / total[:, None]
    return dict(zip(SEGMENT_METRICS, [*precision.T, *recall.mean(1).T], strict=True))


def _precision(scores: Floats, right: NDArray[np.bool_], owner: Integers, weights: Integers) -> Floats:
    """Interpolated precision summed over right proposals, [R, IoUs]; equal scores are taken together."""
    order = np.argsort(-scores, kind="stable")
    ranked, right, owner = scores[order], right[order], owner[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    found = [np.flatnonzero(hits) for hits in right.T]
    sums = np.zeros((len(weights), right.shape[1]))
    step = max(CELLS // max(len(order), 1), 1)
    for start in range(0, len(weights), step):
        drawn = weights[start : start + step, owner]
        every = drawn.cumsum(1)
        for place, hits in enumerate(found):  # precision rises nowhere else
            block = np.searchsorted(ends, hits)
            true = drawn[:, hits].cumsum(1)[:, np.searchsorted(block, block, "right") - 1]
            best = np.maximum.accumulate((true / np.maximum(every[:, ends[block]], 1))[:, ::-1], axis=1)[:, ::-1]
            sums[start : start + step, place] = (drawn[:, hits] * best).sum(1)
    return sums


def judge_segments(
    data: Iterable[Path], split: str, crops: pa.Table, tables: Sequence[pa.Table]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare the scores of a split's frames with the forged periods of its videos.

    A frame's score is the highest of its faces. Real videos have no period, videos without a score no proposal. Fakes
    without known periods are left out.

    Args:
        data: built datasets.
        crops: their rows of samples.parquet.
        tables: rows of scores.parquet, a table for each seed of a training.

    Returns:
        for each dataset and quality with forged periods a row of JSON values (`videos`, `periods`, `groups`, each of
        `SEGMENT_METRICS`, its `intervals` by clip groups and, of several seeds, `spread`), and a sentence for each
        built dataset whose frames outside the periods are missing, which has no row: they would tell the periods.
    """
    scored = [_frame_scores(table.filter(pc.field("corruption") == NO_CORRUPTION), crops) for table in tables]
    videos: dict[tuple[str, str], list[_Video]] = defaultdict(list)
    missing = []
    for folder in data:
        listed = read_listed(folder, VIDEOS_FILE, VIDEOS).filter(pc.field("split") == split)
        if not pc.any(pc.is_valid(listed["fake_periods"])).as_py():
            continue
        if read_dataset(folder).recipe.get("label", {}).get("unforged", "drop") == "drop":
            missing.append(
                f"{folder} was built without the frames outside the forged periods, so that segments are not judged: "
                "build it with label.unforged=keep_as_real."
            )
            continue
        columns = listed.select(["dataset", "quality", "video_id", "label", "fake_periods"]).to_pylist()
        for row, group in zip(columns, map(str, name_groups(listed).to_pylist()), strict=True):
            if row["label"] == 0 or row["fake_periods"]:
                key = row["dataset"], row["quality"], row["video_id"]
                periods = np.array(row["fake_periods"] or [], np.float64).reshape(-1, 2)
                ours = [propose(*one[key]) if key in one else np.zeros((0, 3)) for one in scored]
                videos[key[:2]].append(_Video(periods, group, ours))
    rows = ({"dataset": key[0], "quality": key[1], **_judge(videos[key])} for key in sorted(videos))
    return [row for row in rows if row["periods"]], missing


def _judge(videos: Sequence[_Video]) -> dict[str, Any]:
    names, groups = np.unique([video.group for video in videos], return_inverse=True)
    periods = [video.periods for video in videos]
    found: dict[str, Any] = {"videos": len(videos), "periods": sum(map(len, periods)), "groups": len(names)}
    seeds = [
        measure_segments([video.proposals[seed] for video in videos], periods, groups, weights_of(len(names)))
        for seed in range(len(videos[0].proposals))
    ]
    return {**found, **summarise(seeds)}


def _frame_scores(scores: pa.Table, crops: pa.Table) -> dict[tuple[str, str, str], tuple[Floats, Integers, Floats]]:
    """Times, indices and log-odds of each video's frames, by dataset, quality and video."""
    places: Any = pc.index_in(scores["sample_id"], value_set=crops["sample_id"].combine_chunks())
    timed = scores.append_column("pts_s", crops["pts_s"].take(places.combine_chunks()))
    keys = ["dataset", "quality", "video_id"]
    frames = timed.group_by([*keys, "frame_index"], use_threads=False).aggregate([("pts_s", "min"), ("logit", "max")])
    frames = frames.sort_by([(name, "ascending") for name in (*keys, "frame_index")])
    lists = frames.group_by(keys, use_threads=False).aggregate(
        [(name, "list") for name in ("pts_s_min", "frame_index", "logit_max")]
    )
    return {
        (dataset, quality, video): (np.array(times), np.array(indices), np.array(logits))
        for dataset, quality, video, times, indices, logits in (row.values() for row in lists.to_pylist())
    }


def segments_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Table of the rows of `judge_segments`, with intervals."""
    table = number_table("segments", ("periods", *(name.replace("_", "@").upper() for name in _SHOWN)))
    for row in rows:
        named = name_cell(f"{row['dataset']} {row['quality']}")
        table.add_row(named, str(row["periods"]), *number_cells(row[name] for name in _SHOWN))
        add_bounds(table, [row["intervals"][name] for name in _SHOWN], 1)
    return table
