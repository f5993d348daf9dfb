import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import DatasetError
from facemill.manifests.codes import MaskKind, Reason, Stage
from facemill.manifests.shards.dataset import DATASET_FILE, FAILURES_FILE, SAMPLES_FILE, STATE_FOLDER
from facemill.manifests.shards.summary import (
    DeviceCount,
    FailureCount,
    MaskCount,
    PeopleCount,
    Quantiles,
    SampleCount,
    summarise,
)
from tests.manifests.small_dataset import Parts

MASKS = "Masks: forged share of the crop"


@pytest.fixture
def built(tmp_path) -> Path:
    parts = Parts()
    for position in (3, 4):
        parts.change(position, mask_coverage=0.25 + 0.1 * position)
    parts.change(5, mask_kind=MaskKind.NONE, mask_coverage=None)
    parts.change(6, bbox=(100.0, 50.0, 180.0, 90.0), track_id=1)
    parts.failures += [
        dataclasses.replace(parts.failures[0], stage=Stage.MASK, reason=Reason.MASK_EMPTY, frames=3),
        dataclasses.replace(parts.failures[0], stage=Stage.MASK, reason=Reason.MASK_EMPTY, frames=4),
        dataclasses.replace(parts.failures[0], stage=Stage.MASK, reason=Reason.MASK_EMPTY, frames=4, video_id="other"),
    ]
    state = tmp_path / STATE_FOLDER
    state.mkdir()
    uses = [{"clips": 5, "halvings": 1}, {"clips": 5, "halvings": 1, "on_cpu": {"a": "it has 10 bits"}}]
    uses[0] |= {"samples": 3, "busy": 1.5, "decoding": 0.25}
    uses[1] |= {"samples": 1, "busy": 0.5, "decoding": 0.0}
    timed = {"train-000000": {"decode": 2.5, "detect": 6.0}, "val-000000": {"decode": 1.5}}
    for use, (shard, timings) in zip(uses, timed.items(), strict=True):
        result = {"shard": shard, "timings": timings, "devices": {"node1 cuda:3": use}}
        (state / f"{shard}.json").write_text(json.dumps(result))
    return parts.write(tmp_path)


def test_counts(built):
    summary = summarise(built)
    assert summary.samples == (
        SampleCount("train", "real", "c23", 3, 1),
        SampleCount("train", "deepfakes", "c23", 3, 1),
        SampleCount("val", "real", "c23", 3, 1),
    )
    spread = Quantiles(*np.percentile(np.float32([0.55, 0.65]), (5, 25, 50, 75, 95)))
    assert summary.masks == (
        MaskCount("real", "zeros", 6, 6, 0.0, Quantiles(0, 0, 0, 0, 0)),
        MaskCount("deepfakes", "difference", 2, 0, pytest.approx((0.55 + 0.65) / 2), pytest.approx(spread)),
        MaskCount("deepfakes", "none", 1, 0, None, None),
    )
    assert summary.failures == (
        FailureCount("mask", "mask_empty", 2, 11, ("ffpp-real-c23-002", "other")),
        FailureCount("detect", "no_face", 1, 0, ("ffpp-real-c23-002",)),
    )
    assert summary.people == (PeopleCount(1, 2), PeopleCount(2, 1))
    assert [(face.what, face.label) for face in summary.faces] == [
        ("shorter side, pixels", "real"), ("shorter side, pixels", "fake"),
        ("detector's score", "real"), ("detector's score", "fake"),
    ]  # fmt: skip
    assert summary.faces[0].spread == Quantiles(40 + 0.25 * 40, 80, 80, 80, 80)  # one of six is 40, the rest 80
    assert summary.faces[1].spread == Quantiles(80, 80, 80, 80, 80)
    assert summary.seconds == {"detect": 6.0, "decode": 4.0}
    assert list(summary.seconds) == ["detect", "decode"]
    assert summary.devices == (DeviceCount("node1", "cuda:3", 10, 2, 1, 0.5, 0.0625),)


def test_a_dataset_of_few_videos_is_warned_of_with_the_most_frequent_reason(built):
    summary = summarise(built)
    assert dataclasses.replace(summary, videos=6).verdict() is None
    assert dataclasses.replace(summary, videos=7).verdict() == (
        "Most videos yielded no sample: 4 of 7 videos failed; most often for mask_empty."
    )


def test_tables(built):
    tables = {table.title: table for table in summarise(built).tables()}
    assert list(tables) == ["Samples", MASKS, "Faces", "People", "Failures", "Time", "Devices"]
    assert tables["Samples"].rows[1] == ("train", "deepfakes", "c23", "3", "1")
    assert tables[MASKS].rows[0] == ("real", "zeros", "6", "6", *["0.0%"] * 4)
    assert tables[MASKS].rows[1][:5] == ("deepfakes", "difference", "2", "0", "60.0%")
    assert tables[MASKS].rows[2] == ("deepfakes", "none", "1", "0", *[""] * 4)
    assert tables["Faces"].rows[1] == ("shorter side, pixels", "fake", *["80.0"] * 5)
    assert tables["People"].rows == (("1", "2"), ("2", "1"))
    assert tables["Devices"].rows == (("node1", "cuda:3", "10", "2", "1", "50.0%", "6.2%"),)
    assert tables["Failures"].rows[0] == ("mask", "mask_empty", "2", "11", "ffpp-real-c23-002, other")
    assert tables["Time"].rows == (("detect", "6.0", "60.0%"), ("decode", "4.0", "40.0%"))
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)


def test_parts_without_content_are_left_out(tmp_path):
    parts = Parts()
    parts.failures.clear()
    assert [table.title for table in summarise(parts.write(tmp_path)).tables()] == ["Samples", MASKS, "Faces", "People"]


def test_many_failed_videos_are_named_by_the_first_ones(tmp_path):
    parts = Parts()
    parts.failures += [dataclasses.replace(parts.failures[0], video_id=f"v{number}") for number in range(5)]
    tables = {table.title: table for table in summarise(parts.write(tmp_path)).tables()}
    assert tables["Failures"].rows[0][4] == "ffpp-real-c23-002, v0, v1 and 3 more"


def test_an_unfinished_build(built):
    (built / DATASET_FILE).unlink()
    with pytest.raises(DatasetError, match=r"has no dataset\.json"):
        summarise(built)


def test_damaged_files(built):
    (built / STATE_FOLDER / "val-000000.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"val-000000\.json is not a shard's result"):
        summarise(built)
    (built / SAMPLES_FILE).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="facemill verify"):
        summarise(built)


def test_a_column_of_another_kind_is_one_sentence(built):
    table = pq.read_table(built / FAILURES_FILE)
    column = pa.array([[]] * len(table), pa.list_(pa.null()))
    pq.write_table(table.set_column(table.column_names.index("video_id"), "video_id", column), built / FAILURES_FILE)
    with pytest.raises(DatasetError, match="video_id is list"):
        summarise(built)
