"""UADFV and FFIW, whose folders tell everything."""

from facemill.manifests import scan
from tests.manifests.dataset_trees import ffiw, touch, uadfv


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_uadfv_a_fake_has_the_number_of_its_original(tmp_path):
    entries = by_path(scan("uadfv", uadfv(tmp_path)))
    assert entries["fake/0003_fake.mp4"].source_id == entries["real/0003.mp4"].video_id


def test_ffiw_a_number_is_another_video_in_each_split(tmp_path):
    entries = by_path(scan("ffiw", ffiw(tmp_path)))
    for split in ("train", "val"):
        fake = entries[f"target/{split}/000001.mp4"]
        assert (fake.split, fake.source_id) == (split, entries[f"source/{split}/000001.mp4"].video_id)
        assert fake.mask_path == f"target_mask/{split}/000001.mp4"


def test_ffiw_with_folders_of_videos_and_without_masks(tmp_path):
    touch(tmp_path, [f"{kind}/val/videos/a.mp4" for kind in ("source", "target")])
    entries = by_path(scan("ffiw", str(tmp_path)))
    fake = entries["target/val/videos/a.mp4"]
    assert (fake.source_id, fake.mask_path) == (entries["source/val/videos/a.mp4"].video_id, None)
