import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from facemill import ManifestError
from facemill.manifests import scan
from facemill.manifests.datasets.dfdc import DFDC
from facemill.manifests.datasets.drafts import Draft, enter
from facemill.manifests.scanning.scan_report import ScanReport
from tests.manifests.dataset_trees import dfdc, dfdc_part, touch, write_json, write_zip


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_parts_decide_the_split(tmp_path):
    report = scan("dfdc", dfdc(tmp_path))
    assert report.found == {
        ("dfdc", "real", "train"): 2,
        ("dfdc", "fake", "train"): 4,
        ("dfdc", "real", "val"): 1,
        ("dfdc", "fake", "val"): 2,
        ("dfdc", "real", "test"): 2,
        ("dfdc", "fake", "test"): 3,
    }
    lines = [line.split() for line in report.lines()]
    assert ["dfdc", "real", "2", "1", "2", "5", "21654", "=", "19154", "+", "2500"] in lines


def test_the_splits_begin_and_end_with_these_parts(tmp_path):
    expected = {0: "train", 34: "train", 35: "val", 39: "val", 40: "test", 49: "test"}
    for part in expected:
        dfdc_part(tmp_path, part, ["aaaaaaaaaa"])
    found = {entry.path.partition("/")[0]: entry.split for entry in scan("dfdc", str(tmp_path)).entries}
    assert found == {f"dfdc_train_part_{part}": split for part, split in expected.items()}


def test_an_original_that_the_official_split_leaves_out_is_not_missing():
    drafts = [
        Draft("real.mp4", "real", "a"),
        Draft("fake.mp4", "fake", "b", split="train", original="a", original_path="real.mp4"),
        Draft("other.mp4", "fake", "c", split="train", original="d", original_path="gone.mp4"),
    ]
    report = ScanReport("/data", {})
    enter(report, "dfdc", drafts, None, official=True)
    assert (report.unsplit, report.missing) == (["real.mp4"], ["gone.mp4"])
    assert report.unpaired == ["fake.mp4", "other.mp4"]


def test_parts_of_a_split_can_be_set(tmp_path):
    adapter = DFDC(parts={"train": range(1), "val": range(1, 40)})
    report = scan(adapter, dfdc(tmp_path))
    assert {entry.split for entry in report.entries if "part_35" in entry.path} == {"val"}
    assert report.unsplit == [f"dfdc_train_part_49/{name}daaaaaaaa.mp4" for name in "axy"]


def test_original_pairs_within_the_part(tmp_path):
    dfdc_part(tmp_path, 0, ["aaaaaaaaaa"])
    dfdc_part(tmp_path, 1, ["aaaaaaaaaa"])
    report = scan("dfdc", str(tmp_path))
    assert len(report.entries) == 6
    assert by_path(report)["dfdc_train_part_1/xaaaaaaaaa.mp4"].source_id == "dfdc-real-native-01_aaaaaaaaaa"


def test_an_original_that_is_not_on_disk(tmp_path):
    dfdc_part(tmp_path, 0, ["aaaaaaaaaa", "abaaaaaaaa"])
    (tmp_path / "dfdc_train_part_0/aaaaaaaaaa.mp4").unlink()
    report = scan("dfdc", str(tmp_path))
    assert report.missing == ["dfdc_train_part_0/aaaaaaaaaa.mp4"]
    assert report.unpaired == ["dfdc_train_part_0/xaaaaaaaaa.mp4", "dfdc_train_part_0/yaaaaaaaaa.mp4"]


def test_an_original_that_is_not_even_described(tmp_path):
    fake = {"label": "FAKE", "split": "train", "original": "gone.mp4"}
    write_json(tmp_path / "dfdc_train_part_3/metadata.json", {"x.mp4": fake})
    touch(tmp_path, ["dfdc_train_part_3/x.mp4"])
    report = scan("dfdc", str(tmp_path))
    assert report.missing == ["dfdc_train_part_3/gone.mp4"]
    assert report.unpaired == ["dfdc_train_part_3/x.mp4"]


def test_parts_may_lie_deeper(tmp_path):
    dfdc_part(tmp_path / "unzipped/dfdc_train_part_00", 0, ["aaaaaaaaaa"])
    report = scan("dfdc", str(tmp_path))
    assert len(report.entries) == 3
    assert report.unpaired == []


@pytest.mark.parametrize("folder", ["", "test/", "dfdc/test/"])
def test_the_test_set_by_labels(tmp_path, folder):
    touch(tmp_path, [f"{folder}a.mp4", f"{folder}b.mp4"])
    (tmp_path / folder / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\nc.mp4,1\n")
    report = scan("dfdc", str(tmp_path))
    assert {path: (e.label, e.split) for path, e in by_path(report).items()} == {
        f"{folder}a.mp4": (0, "test"),
        f"{folder}b.mp4": (1, "test"),
    }
    assert report.missing == [f"{folder}c.mp4"]


@pytest.mark.parametrize(("real", "fake"), [({"label": "REAL"}, {"label": "FAKE"}), ({"is_fake": 0}, {"is_fake": 1})])
def test_the_test_set_by_metadata(tmp_path, real, fake):
    write_json(tmp_path / "test/metadata.json", {"a.mp4": real, "b.mp4": fake})
    touch(tmp_path, ["test/a.mp4", "test/b.mp4"])
    assert [(entry.label, entry.split) for entry in scan("dfdc", str(tmp_path)).entries] == [(1, "test"), (0, "test")]


def test_a_test_folder_with_both_tables_holds_each_video_once(tmp_path):
    touch(tmp_path, ["test/a.mp4", "test/b.mp4"])
    (tmp_path / "test/labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\n")
    write_json(tmp_path / "test/metadata.json", {"a.mp4": {"is_fake": 0}, "b.mp4": {"is_fake": 1}})
    report = scan("dfdc", str(tmp_path))
    assert [entry.video_id for entry in report.entries] == ["dfdc-fake-native-test_b", "dfdc-real-native-test_a"]
    assert report.duplicate == []


def test_two_labelled_folders_with_the_same_names_are_two_sets_of_videos(tmp_path):
    for folder in ("private", "public"):
        touch(tmp_path, [f"{folder}/a.mp4", f"{folder}/b.mp4"])
        (tmp_path / folder / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\n")
    report = scan("dfdc", str(tmp_path))
    assert len({entry.video_id for entry in report.entries}) == 4
    assert report.duplicate == []


def test_training_videos_outside_of_parts_are_in_no_split(tmp_path):
    dfdc(tmp_path)
    sample = {"label": "REAL", "split": "train"}
    write_json(tmp_path / "train_sample_videos/metadata.json", {"s.mp4": sample})
    touch(tmp_path, ["train_sample_videos/s.mp4"])
    assert scan("dfdc", str(tmp_path)).unsplit == ["train_sample_videos/s.mp4"]


def test_by_identity_a_part_stays_together(tmp_path):
    report = scan("dfdc", dfdc(tmp_path), split="identity:40/30/30")
    for folder in ("dfdc_train_part_0", "dfdc_train_part_35"):
        assert len({entry.split for entry in report.entries if entry.path.startswith(f"{folder}/")}) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("dfdc_train_part_0/metadata.json", '{"a.mp4": {"label": "MAYBE"}}', "label 'MAYBE'"),
        ("dfdc_train_part_0/metadata.json", '{"a.mp4": "FAKE"}', "does not describe videos"),
        ("dfdc_train_part_0/metadata.json", "[1", "is not JSON"),
        ("test/labels.csv", "file,label\na.mp4,0\n", "lacks the columns"),
        ("test/labels.csv", "filename,label\na.mp4,2\n", "label '2'"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, name, text, message):
    touch(tmp_path, [name])
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        scan("dfdc", str(tmp_path))


def test_ten_thousand_videos_take_a_moment(tmp_path):
    """The whole of DFDC, twelve times as many, has half a minute; see `benchmarks.scanning`."""
    for part in range(40):
        dfdc_part(tmp_path, part, [f"a{number:09d}" for number in range(84)])
    started = time.process_time()
    assert len(scan("dfdc", str(tmp_path)).entries) == 40 * 84 * 3
    assert time.process_time() - started < 5  # about 0.3 s on a quiet core


def test_zipped_parts_are_the_parts(tmp_path):
    """As they are downloaded: `dfdc_train_part_00.zip`, with the part's folder inside; some unpacked already."""
    root = Path(dfdc(tmp_path / "data"))
    unpacked = scan("dfdc", str(root))
    for part in (0, 35):
        folder = root / f"dfdc_train_part_{part}"
        members = {f"{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
        write_zip(root / f"dfdc_train_part_{part:02d}.zip", members)
        shutil.rmtree(folder)
    packed = scan("dfdc", str(root))
    inside = {entry.path.partition(".zip/")[2] or entry.path for entry in packed.entries}
    assert inside == {entry.path for entry in unpacked.entries}
    assert [replace(entry, path="") for entry in packed.entries] == [
        replace(entry, path="") for entry in unpacked.entries
    ]
    assert (packed.unknown, packed.missing) == (unpacked.unknown, unpacked.missing)


def test_a_part_that_is_there_twice_is_told_and_the_unpacked_one_kept(tmp_path):
    dfdc_part(tmp_path, 0, ["aaaaaaaaaa"])
    folder = tmp_path / "dfdc_train_part_0"
    write_zip(
        tmp_path / "dfdc_train_part_00.zip", {f"{folder.name}/{p.name}": p.read_bytes() for p in folder.iterdir()}
    )
    report = scan("dfdc", str(tmp_path))
    assert len(report.entries) == len(report.duplicate) == 3
    assert not any(".zip" in entry.path for entry in report.entries)


def test_a_damaged_part_is_told_and_the_others_are_listed(tmp_path):
    dfdc_part(tmp_path, 0, ["aaaaaaaaaa"])
    (tmp_path / "dfdc_train_part_01.zip").write_bytes(b"PK")
    report = scan("dfdc", str(tmp_path))
    assert report.unreadable == ["dfdc_train_part_01.zip"]
    assert "unreadable: 1 (dfdc_train_part_01.zip)" in report.lines()
    assert len(report.entries) == 3
