from pathlib import Path

import pytest

from facemill.manifests import scan
from tests.manifests.dataset_trees import dfd_videos, ffpp_videos, touch

SWAPPED = "dfd-DeepFakeDetection-c23-02_01__exit_phone_room__YVGY8L02"


@pytest.fixture
def root(tmp_path) -> Path:
    touch(tmp_path, dfd_videos())
    return tmp_path


def by_id(report):
    return {entry.video_id: entry for entry in report.entries}


def test_a_fake_is_paired_with_its_target_in_the_same_scene(root):
    entries = by_id(scan("dfd", str(root)))
    assert entries[SWAPPED].source_id == "dfd-real-c23-02__exit_phone_room"
    assert entries[SWAPPED].subject_ids == ("dfd-02", "dfd-01")
    assert entries["dfd-real-c23-02__walking_outside_cafe_disgusted"].subject_ids == ("dfd-02",)


def test_without_the_scene_of_its_target_a_fake_is_unpaired(root):
    (root / "original_sequences/actors/c23/videos/02__exit_phone_room.mp4").unlink()
    report = scan("dfd", str(root))
    assert by_id(report)[SWAPPED].source_id is None
    assert len(report.unpaired) == 2
    assert report.missing == ["original_sequences/actors/c23/videos/02__exit_phone_room.mp4"]


def test_all_of_it_is_test(root):
    report = scan("dfd", str(root))
    assert report.found == {("dfd", "real", "test"): 7, ("dfd", "DeepFakeDetection", "test"): 7}
    assert report.notes == ["dfd has no official split: all videos are test."]
    assert scan("dfd", str(root), split="all-test").notes == []
    assert ["dfd", "real", "0", "0", "7", "7", "363"] in [line.split() for line in report.lines()]


def test_by_identity_only_a_fake_between_splits_is_left_out(root):
    for seed in range(5):
        report = scan("dfd", str(root), split="identity:34/33/33", seed=seed)
        crossing = "manipulated_sequences/DeepFakeDetection/c23/videos/02_03__exit_phone_room__YVGY8L02.mp4"
        assert report.crossing == [crossing]
        assert len(report.entries) == 13
        assert any("left out, with subjects of another split: 1 " in line for line in report.lines())


def test_faceforensics_in_the_same_root_is_another_dataset(root):
    touch(root, [*ffpp_videos(), "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"])
    report = scan("dfd", str(root))
    assert {entry.dataset for entry in report.entries} == {"dfd"}
    assert report.unknown == []


def test_masks_have_the_name_of_their_fake(root):
    mask = "manipulated_sequences/DeepFakeDetection/masks/videos/02_01__exit_phone_room__YVGY8L02.mp4"
    touch(root, [mask])
    assert by_id(scan("dfd", str(root)))[SWAPPED].mask_path == mask


def test_c0_is_an_old_name_of_raw(tmp_path):
    touch(tmp_path, dfd_videos("c0"))
    assert {entry.quality for entry in scan("dfd", str(tmp_path)).entries} == {"raw"}
