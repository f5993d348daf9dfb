import dataclasses
import json
from pathlib import Path

import pytest

from facemill import DatasetError
from facemill.manifests.records import MaskKind, Reason, Stage
from facemill.manifests.shards.dataset import DATASET_FILE, SAMPLES_FILE, STATE_FOLDER
from facemill.manifests.shards.summary import FailureCount, MaskCount, SampleCount, summarise
from tests.manifests.small_dataset import Parts


@pytest.fixture
def built(tmp_path) -> Path:
    parts = Parts()
    for position in (3, 4):
        parts.change(position, mask_coverage=0.25 + 0.1 * position)
    parts.change(5, mask_kind=MaskKind.NONE, mask_coverage=None)
    parts.failures += [
        dataclasses.replace(parts.failures[0], stage=Stage.MASK, reason=Reason.MASK_EMPTY, frames=3),
        dataclasses.replace(parts.failures[0], stage=Stage.MASK, reason=Reason.MASK_EMPTY, frames=4),
        dataclasses.replace(parts.failures[0], stage=Stage.MASK, reason=Reason.MASK_EMPTY, frames=4, video_id="other"),
    ]
    state = tmp_path / STATE_FOLDER
    state.mkdir()
    for shard, timings in {"train-000000": {"decode": 2.5, "detect": 6.0}, "val-000000": {"decode": 1.5}}.items():
        (state / f"{shard}.json").write_text(json.dumps({"shard": shard, "timings": timings}))
    return parts.write(tmp_path)


def test_counts(built):
    summary = summarise(built)
    assert summary.samples == (
        SampleCount("train", "real", "c23", 3, 1),
        SampleCount("train", "deepfakes", "c23", 3, 1),
        SampleCount("val", "real", "c23", 3, 1),
    )
    assert summary.masks == (
        MaskCount("difference", 2, pytest.approx((0.55 + 0.65) / 2)),
        MaskCount("none", 1, None),
        MaskCount("zeros", 6, 0.0),
    )
    assert summary.failures == (FailureCount("mask", "mask_empty", 2, 11), FailureCount("detect", "no_face", 1, 0))
    assert summary.seconds == {"detect": 6.0, "decode": 4.0}
    assert list(summary.seconds) == ["detect", "decode"]


def test_tables(built):
    tables = {table.title: table for table in summarise(built).tables()}
    assert list(tables) == ["Samples", "Masks", "Failures", "Time"]
    assert tables["Samples"].rows[1] == ("train", "deepfakes", "c23", "3", "1")
    assert tables["Masks"].rows == (("difference", "2", "60.0%"), ("none", "1", ""), ("zeros", "6", "0.0%"))
    assert tables["Failures"].rows[0] == ("mask", "mask_empty", "2", "11")
    assert tables["Time"].rows == (("detect", "6.0", "60.0%"), ("decode", "4.0", "40.0%"))
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)


def test_parts_without_content_are_left_out(tmp_path):
    parts = Parts()
    parts.failures.clear()
    assert [table.title for table in summarise(parts.write(tmp_path)).tables()] == ["Samples", "Masks"]


def test_an_unfinished_build(built):
    (built / DATASET_FILE).unlink()
    with pytest.raises(DatasetError, match=r"has no dataset\.json"):
        summarise(built)


def test_damaged_files(built):
    (built / STATE_FOLDER / "val-000000.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"val-000000\.json is no shard's result"):
        summarise(built)
    (built / SAMPLES_FILE).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="facemill verify"):
        summarise(built)
