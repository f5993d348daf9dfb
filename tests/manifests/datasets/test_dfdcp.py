from pathlib import Path

import pytest

from facemill import ManifestError
from facemill.manifests import scan
from tests.manifests.dataset_trees import DFDCP_ROWS, touch, write_dfdcp

FAKE = "method_A/1229756/1229756_A/1072996_1229756_A_001.mp4"


@pytest.fixture
def root(tmp_path) -> Path:
    touch(tmp_path, DFDCP_ROWS)
    write_dfdcp(tmp_path)
    return tmp_path


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_labels_are_lowercase(root):
    entries = by_path(scan("dfdcp", str(root), split="all-test"))
    assert {path: ("real", "fake")[entry.label] for path, entry in entries.items()} == {
        path: label for path, (label, _) in DFDCP_ROWS.items()
    }


def test_two_methods_of_one_name_are_two_videos_of_one_original(root):
    entries = by_path(scan("dfdcp", str(root), split="all-test"))
    one, other = entries[FAKE], entries[FAKE.replace("method_A", "method_B")]
    assert one.video_id != other.video_id
    assert one.source_id == other.source_id == "dfdcp-real-native-1229756_A_001"
    assert one.subject_ids == ("dfdcp-1229756", "dfdcp-1072996")


def test_originals_may_lie_a_level_deeper(tmp_path):
    rows = {
        path.replace("1229756/1229756_A_001", "1229756/1229756_A/1229756_A_001"): v for path, v in DFDCP_ROWS.items()
    }
    touch(tmp_path, rows)
    write_dfdcp(tmp_path, rows)
    assert by_path(scan("dfdcp", str(tmp_path)))[FAKE].source_id == "dfdcp-real-native-1229756_A_001"


def test_the_set_decides_and_val_is_carved_from_train(root):
    report = scan("dfdcp", str(root))
    expected = {path for path, (_, where) in DFDCP_ROWS.items() if where == "test"}
    assert {entry.path for entry in report.entries if entry.split == "test"} == expected
    assert {entry.split for entry in report.entries} == {"train", "val", "test"}


def test_a_missing_original_is_reported(root):
    original = "original_videos/1229756/1229756_A_001.mp4"
    (root / original).unlink()
    report = scan("dfdcp", str(root), split="all-test")
    assert report.missing == [original]
    assert report.unpaired == [FAKE, FAKE.replace("method_A", "method_B")]


def test_an_original_that_was_never_published_is_missing(root):
    original = "original_videos/1229756/1229756_A_001.mp4"
    (root / original).unlink()
    write_dfdcp(root, {path: row for path, row in DFDCP_ROWS.items() if path != original})
    assert scan("dfdcp", str(root), split="all-test").missing == [original]


def test_published_counts_of_all_fakes(root):
    lines = [line.split() for line in scan("dfdcp", str(root), split="all-test").lines()]
    assert ["dfdcp", "all", "fakes", "0", "0", "3", "3", "4119"] in lines
    assert ["dfdcp", "method_A", "0", "0", "2", "2", "-"] in lines


@pytest.mark.parametrize(
    ("path", "row"),
    [
        (FAKE, ("real", "train")),
        (FAKE, ("maybe", "train")),
        (FAKE, ("fake", "val")),
        ("elsewhere/1.mp4", ("fake", "train")),
    ],
)
def test_a_table_that_contradicts_the_paths_is_refused(root, path, row):
    write_dfdcp(root, {path: row})
    with pytest.raises(ManifestError, match=r"dataset\.json gives"):
        scan("dfdcp", str(root))


def test_without_its_table_it_says_what_to_do(root):
    (root / "dataset.json").unlink()
    with pytest.raises(ManifestError, match=r"lacks dataset\.json"):
        scan("dfdcp", str(root), split="all-test")
