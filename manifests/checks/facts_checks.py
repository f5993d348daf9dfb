"""Checks of facts.parquet, and of what it says about samples, faces and failures: frame sizes, frame counts, times."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill.manifests.checks.columns import pc, words
from facemill.manifests.checks.dataset_checks import frames_lost, unknown_videos
from facemill.manifests.checks.row_checks import RowCheck, check_rows
from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.checks.side_checks import boxes_of, face_problems, rows_of
from facemill.manifests.problem import Problem
from facemill.manifests.records import VideoEntry
from facemill.manifests.shards.dataset import FACTS_FILE, FAILURES_FILE, SAMPLES_FILE

__all__ = [
    "check_faces_by_facts",
    "check_facts",
    "check_failures_by_facts",
    "check_frames_accounted",
    "check_pair_colours",
    "check_rows_by_facts",
]

BT601, LIKE_BT601, LIMITED = 5, (2, 5, 6), 1
"""Codes of ITU-T H.273: untagged video is read as BT.601 in limited range."""
ALIGNMENTS = ("in_step", "shifted", "piecewise", "rate", "unknown", "refused")
"""The kinds of `facemill.masks.AlignmentKind`."""
SAME_ASPECT = 0.02
"""Difference of aspect ratios above which a fake is not compared with its original."""
TURNS = (0, 90, 180, 270)
FRAME_SHARE, RATE_ERROR = 0.5, 0.01
"""Tolerance of a time in a video with even frames: a share of a frame, and the error of a rate that a header states."""


def check_facts(facts: pa.Table, videos: Sequence[VideoEntry], samples: pa.Table) -> Iterator[Problem]:
    """Every video with samples is listed once, with possible values, and with the size and hash of the manifest."""
    entries, listed = {video.video_id: video for video in videos}, Counter[str]()
    for row, fact in enumerate(facts.to_pylist()):
        listed[fact["video_id"]] += 1
        for check, message in _faults(fact, entries.get(fact["video_id"])):
            yield Problem(FACTS_FILE, f"video {fact['video_id']}: {message}", row, check=check)
        if listed[fact["video_id"]] == 2:
            yield Problem(FACTS_FILE, f"video {fact['video_id']} is listed twice", row, check="facts_twice")
    yield from _odd_aspects(facts, samples)
    if entries:
        yield from unknown_videos(FACTS_FILE, listed.keys(), entries.keys())
    for video_id in sorted(words(samples["video_id"]) - listed.keys()):
        yield Problem(FACTS_FILE, f"video {video_id} has samples and is not listed", check="facts_missing")


def _odd_aspects(facts: pa.Table, samples: pa.Table) -> Iterator[Problem]:
    """Fakes with samples of pairs whose frames have another aspect ratio than their original's."""
    shapes = {fact["video_id"]: (fact["width"], fact["height"]) for fact in facts.to_pylist()}
    paired = samples.filter(pc.is_valid(samples["pair_offset"])).group_by(["video_id", "source_id"]).aggregate([])
    for pair in paired.to_pylist():
        fake, real = shapes.get(pair["video_id"]), shapes.get(pair["source_id"])
        if fake and real and abs(fake[0] * real[1] - real[0] * fake[1]) > 2 * SAME_ASPECT * real[0] * fake[1]:
            message = f"video {pair['video_id']} is {fake[0]} x {fake[1]}, and its original {real[0]} x {real[1]}"
            yield Problem(FACTS_FILE, message, check="facts_aspect")


def _faults(fact: Mapping[str, Any], entry: VideoEntry | None) -> Iterator[tuple[str, str]]:
    """Names of checks and messages about a row's impossible values."""
    if min(fact["width"], fact["height"], fact["frames"]) < 1:
        size = f"{fact['frames']} frames of {fact['width']} x {fact['height']} pixels"
        yield "facts_size", f"it has {size}"
    amounts = {name: fact[name] for name in ("fps", "pixel_aspect", "residual", "duration_s", "longest_gap_s")}
    odd = [name for name, value in amounts.items() if value is not None and not 0 <= value < math.inf]
    if odd or fact["rotation"] % 360 not in TURNS:
        yield "facts_numbers", f"{', '.join(odd) or 'rotation'} is not possible"
    if fact["alignment"] not in (None, *ALIGNMENTS):
        yield "facts_alignment", f"alignment is {fact['alignment'][:200]!r}, which is not a kind of alignment"
    cuts = [0, *fact["cuts"], fact["frames"]]
    if any(later <= cut for cut, later in itertools.pairwise(cuts)):
        yield "facts_cuts", f"its cuts are not in order, or not inside its {fact['frames']} frames"
    for name in ("size_bytes", "content_hash"):
        told = None if entry is None else getattr(entry, name)
        if None not in (told, fact[name]) and told != fact[name]:
            yield "facts_file", f"{name} is {fact[name]}, but {told} in the manifest"


def check_rows_by_facts(rows: Rows, facts: pa.Table) -> Iterator[Problem]:
    """Frames, boxes and times of samples are possible in their videos."""
    of = _joined(rows["video_id"], facts)
    frame, box = rows.numbers("frame_index"), rows.numbers("bbox").astype(np.float64)
    own = ~rows.cropped & (~rows.known("pair_offset") | (rows.recipe.detect.on == "each"))
    outside = own & ((box[:, 0] + box[:, 2] > 2 * of["width"]) | (box[:, 1] + box[:, 3] > 2 * of["height"]))
    first = _first_samples(rows)
    since, steps = rows.numbers("pts_s") - rows.numbers("pts_s")[first], frame - frame[first]
    with np.errstate(all="ignore"):
        uneven = abs(since - steps / of["fps"]) > (FRAME_SHARE + RATE_ERROR * steps) / of["fps"]
    uneven &= (of["variable_rate"] == 0) & (of["fps"] > 0)
    late = since > of["duration_s"] + 1e-3
    yield from check_rows(rows, (
        RowCheck("frame_count", f"its frame is {{frame_index}}, but its video has {{frames:g}} frames in {FACTS_FILE}",
                 lambda rows: frame >= of["frames"], lambda rows: {"frames": of["frames"]}),
        RowCheck("bbox_frame", "bbox {bbox} lies outside the frame of {width:g} x {height:g} pixels",
                 lambda rows: outside, lambda rows: {"width": of["width"], "height": of["height"]}),
        RowCheck("times", f"pts_s is {{pts_s:g}}, which its frame {{frame_index}} cannot have by {FACTS_FILE}",
                 lambda rows: ~rows.cropped & (uneven | late)),
    ))  # fmt: skip


def check_frames_accounted(rows: Rows, videos: pa.Table, failures: pa.Table, facts: pa.Table) -> Iterator[Problem]:
    """Each frame that the recipe samples of a video has a sample, or is one of the frames that a failure records."""
    most = rows.recipe.sample.frames
    if most is None or rows.recipe.sample.strategy == "stride":
        return
    frames = {fact["video_id"]: fact["frames"] for fact in facts.select(["video_id", "frames"]).to_pylist()}
    spans = _spans(rows, videos, facts)
    lost = frames_lost(failures)
    sampled_of = rows.table.group_by(["video_id", "source_id"]).aggregate([("frame_index", "count_distinct")])
    for video in sampled_of.to_pylist():
        video_id, kept = video["video_id"], video["frame_index_count_distinct"]
        sampled = min(most, frames.get(video_id, 0), spans.get(video["source_id"] or video_id, most))
        if kept + lost[video_id] < sampled:
            message = f"video {video_id} has samples of {kept} frames, and failures of {lost[video_id]}"
            yield Problem(SAMPLES_FILE, f"{message}, but {sampled} are sampled", check="frames_accounted")


def _spans(rows: Rows, videos: pa.Table, facts: pa.Table) -> dict[str, int]:
    """Frames that each original at least has in common with all of its fakes: a build samples among these only."""
    offsets = rows.table.select(["video_id", "pair_offset"]).filter(pc.is_valid(rows.table["pair_offset"]))
    largest: dict[str, int] = defaultdict(int)
    for row in offsets.to_pylist():
        largest[row["video_id"]] = max(largest[row["video_id"]], abs(row["pair_offset"]))
    source_of = dict(zip(videos["video_id"].to_pylist(), videos["source_id"].to_pylist(), strict=True))
    found = {fact["video_id"]: fact for fact in facts.select(["video_id", "frames", "alignment"]).to_pylist()}
    spans = {video_id: fact["frames"] for video_id, fact in found.items() if source_of.get(video_id) is None}
    shift = dict.fromkeys(spans, 0)
    content = dict(zip(videos["video_id"].to_pylist(), videos["content"].to_pylist(), strict=True))
    for video_id, fact in found.items():
        lead = source_of.get(video_id)
        if lead in spans and content[video_id] and (fact["frames"] != found[lead]["frames"] or largest[video_id]):
            spans[lead] = 0  # images may be missing anywhere, and these tables do not say which
        if lead in spans and 2 * fact["frames"] >= found[lead]["frames"]:  # shorter ones do not count
            spans[lead] = min(spans[lead], fact["frames"])
            known = video_id in largest or fact["alignment"] in (None, "in_step")
            shift[lead] = max(shift[lead], largest[video_id] if known else spans[lead])
    return {lead: max(0, span - shift[lead]) for lead, span in spans.items()}


def check_faces_by_facts(faces: pa.Table, facts: pa.Table) -> Iterator[Problem]:
    """Frames and boxes of detected faces are possible in their videos."""
    of = _joined(faces["video_id"], facts)
    beyond = faces["frame_index"].to_numpy() >= of["frames"]
    yield from face_problems(faces, "faces_count", "its video has fewer frames", beyond)
    boxes, owner = boxes_of(faces)
    across, down = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    off = (across < 0) | (down < 0) | (across > 2 * of["width"][owner]) | (down > 2 * of["height"][owner])
    yield from face_problems(faces, "faces_outside", "a box lies outside the frame", rows_of(faces, "boxes", off))


def check_failures_by_facts(failures: pa.Table, facts: pa.Table) -> Iterator[Problem]:
    """No failure concerns more frames than its video has."""
    counts = _joined(failures["video_id"], facts)["frames"]
    for row in np.flatnonzero(failures["frames"].to_numpy() > counts).tolist():
        message = f"it concerns {failures['frames'][row]} frames, but its video has {counts[row]:g} in {FACTS_FILE}"
        yield Problem(FAILURES_FILE, message, row, check="failure_count_frames")


def _joined(video_ids: Any, facts: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Numbers of each row's video by column, [N] each; NaN if unknown."""
    at = pc.index_in(video_ids, value_set=facts["video_id"].combine_chunks())
    names = ("width", "height", "frames", "fps", "variable_rate", "duration_s")
    columns = {name: pc.cast(facts[name], pa.float64()).combine_chunks().take(at) for name in names}
    return {name: np.asarray(column.to_numpy(zero_copy_only=False), np.float64) for name, column in columns.items()}


def _first_samples(rows: Rows) -> NDArray[np.int64]:
    """Position of the sample of each row's video with the lowest frame index, [N]."""
    order = np.argsort(rows.numbers("frame_index"), kind="stable")
    _, first = np.unique(rows.video_codes[order], return_index=True)
    return order[first][rows.video_codes]


def check_pair_colours(videos: Sequence[VideoEntry], facts: pa.Table) -> Iterator[Problem]:
    """Report fakes converted to RGB differently from their originals: the colours of crops then reveal the label."""
    conversions = {
        row["video_id"]: (
            BT601 if row["colour_matrix"] in LIKE_BT601 else row["colour_matrix"],
            row["colour_range"] or LIMITED,
        )
        for row in facts.select(["video_id", "colour_matrix", "colour_range"]).to_pylist()
    }
    differing: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        fake, real = conversions.get(video.video_id), conversions.get(video.source_id or "")
        if fake and real and fake != real:
            message = f"matrix and range of {video.video_id} are {fake}, and of its original {real}"
            differing[video.method].append(message)
    for method, of_method in differing.items():
        message = f"{len(of_method)} videos of {method} have other colour tags than their originals: {of_method[0]}"
        yield Problem(FACTS_FILE, message, check="pair_colours")
