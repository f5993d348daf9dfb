import io
import tarfile

import pytest

from facemill.manifests import scan
from facemill.manifests.archives import split_archive
from tests.manifests.dataset_trees import touch, wild, wild_shard, write_archive


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_a_video_is_a_folder_of_frames_packed_or_not(tmp_path):
    entries = by_path(scan("wild", wild(tmp_path)))
    assert len(entries) == 2 * (3 * 2 + 2)
    packed = entries["real_train/1.tar.gz/1/real/0"]
    assert packed.video_id == "wild-real-native-train-1-0"
    assert split_archive(packed.path) == ("real_train/1.tar.gz", "1/real/0")
    unpacked = entries["fake_test/0/fake/1"]
    assert unpacked.video_id == "wild-fake-native-test-0-1"
    assert split_archive(unpacked.path) is None


def test_nobody_knows_subjects_or_pairs(tmp_path):
    report = scan("wild", wild(tmp_path))
    assert {(entry.subject_ids, entry.source_id, entry.mask_path) for entry in report.entries} == {((), None, None)}


def test_a_shard_is_never_in_two_splits(tmp_path):
    for split in ("official", "identity:40/30/30"):
        entries = scan("wild", wild(tmp_path), split=split).entries
        shards = {(entry.path.split("/real/")[0].split("/fake/")[0], entry.split) for entry in entries}
        assert len(shards) == len({shard for shard, _ in shards}) == 8


def test_numbers_of_shards_come_back_in_all_four(tmp_path):
    for folder in ("real_train", "real_test", "fake_train", "fake_test"):
        write_archive(tmp_path / folder / "7.tar.gz", wild_shard(7, folder[:4], 1))
    assert len(scan("wild", str(tmp_path)).entries) == 4


def test_packed_and_unpacked_is_the_same_twice(tmp_path):
    members = wild_shard(3, "real", 2)
    write_archive(tmp_path / "real_train/3.tar.gz", members)
    touch(tmp_path / "real_train", members)
    report = scan("wild", str(tmp_path), split="all-test")
    assert len(report.entries) == len(report.duplicate) == 2


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_opened_whatever_its_compression(tmp_path, mode):
    write_archive(tmp_path / "deepfake_in_the_wild/real_train/0.tar.gz", wild_shard(0, "real", 2), mode)
    assert len(scan("wild", str(tmp_path), split="all-test").entries) == 2


def test_a_damaged_archive_is_reported_and_the_others_read(tmp_path):
    wild(tmp_path)
    path = tmp_path / "fake_train/2.tar.gz"
    path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "fake_train/1.tar.gz").write_bytes(b"<html>Quota exceeded</html>")
    report = scan("wild", str(tmp_path))
    assert report.unreadable == ["fake_train/1.tar.gz", "fake_train/2.tar.gz"]
    assert len(report.entries) == 12


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/etc/0.png", tarfile.REGTYPE),
        ("1/real/0/../../../../0.png", tarfile.REGTYPE),
        ("1/real/0/1.png", tarfile.SYMTYPE),
        ("1/real/0/1.png", tarfile.LNKTYPE),
        ("1/real/0/1.png", tarfile.CHRTYPE),
    ],
)
def test_an_archive_that_could_reach_outside_is_refused(tmp_path, name, kind):
    wild(tmp_path)
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "real_train/9.tar.gz", "w:gz") as archive:
        good = tarfile.TarInfo("9/real/0/0.png")
        archive.addfile(good, io.BytesIO())
        archive.addfile(member, io.BytesIO())
    report = scan("wild", str(tmp_path))
    assert report.unreadable == ["real_train/9.tar.gz"]
    assert len(report.entries) == 16


def test_folders_and_labels_that_do_not_fit_are_unknown(tmp_path):
    wild(tmp_path)
    write_archive(tmp_path / "real_train/5.tar.gz", wild_shard(5, "fake", 1))
    touch(tmp_path, ["real_train/cover.png", "real_train/5/real/x/0.png"])
    report = scan("wild", str(tmp_path))
    assert report.unknown == ["real_train", "real_train/5.tar.gz/5/fake/0", "real_train/5/real/x", "stray.mp4"]
