"""Why a video has only so many samples."""

from pathlib import Path

import pytest

from facemill import DatasetError
from facemill.pipeline.view.catalogue import Catalogue
from facemill.pipeline.view.images import SourceFrames
from facemill.pipeline.view.timeline import describe_video, frame_size
from tests.pipeline.data.built import build
from tests.pipeline.view.staged import HOSTILE, Staged

SAMPLED = [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23]


def described(root: Path, video_id: str) -> dict:
    catalogue = Catalogue(root)
    return describe_video(catalogue, SourceFrames(root, catalogue.info), video_id)


@pytest.mark.parametrize(("video_id", "last"), [("r", "too small"), ("f", "unforged")])
def test_each_frame_has_its_reason(staged: Staged, video_id: str, last: str) -> None:
    """The last frames equal the original's, of which nothing but the size of the face tells why it was not kept."""
    video = described(staged.shards, video_id)
    assert [frame["index"] for frame in video["frames"]] == SAMPLED
    assert [frame["state"] for frame in video["frames"]] == ["sample"] * 6 + ["no face"] * 3 + [last] * 3
    assert [row["frame_index"] for row in video["samples"]] == SAMPLED[:6]
    assert f"6 of the 12 frames looked at gave none: no face 3, {last} 3" in video["summary"]
    assert video["summary"].startswith("6 samples in 6 frames; ")
    assert (video["detected_in"], video["cuts"], video["facts"]["frames"]) == ("r", [18], 24)
    assert video["frames"][-1]["faces"][0]["size"] == 30
    assert {row["reason"] for row in video["failures"]} >= {"no_face"}
    assert frame_size(staged.shards, video_id) == (320, 240)


def test_a_fake_and_its_original_are_counterparts(staged: Staged) -> None:
    fake = described(staged.shards, "f")
    assert fake["video"]["method"] == HOSTILE
    assert all(0.05 < row["mask_coverage"] < 0.5 for row in fake["samples"])
    catalogue = Catalogue(staged.shards)
    for row in fake["samples"]:
        [original] = catalogue.sample(row["number"])["counterparts"]
        assert original["sample_id"] == row["sample_id"].replace("f-", "r-", 1)
        assert [one["number"] for one in catalogue.sample(original["number"])["counterparts"]] == [row["number"]]


def test_a_video_without_samples(staged: Staged) -> None:
    video = described(staged.shards, "e")
    assert video["samples"] == []
    assert video["summary"].startswith("0 samples in 0 frames; 12 of the 12 frames looked at gave none: no face 12.")
    assert [row["reason"] for row in video["failures"]] == ["no_face"]


def test_a_dataset_without_the_other_tables_has_a_timeline_of_samples(tmp_path: Path) -> None:
    video = described(build(tmp_path), "train-1")
    assert video["summary"] == "6 samples in 6 frames."
    assert (video["video"], video["facts"]) == (None, None)
    assert [*video["frames"], *video["failures"], *video["cuts"]] == []
    with pytest.raises(DatasetError, match="no video nobody: choose one of its gallery"):
        described(tmp_path, "nobody")
