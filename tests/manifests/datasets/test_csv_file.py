import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import ManifestError
from facemill.manifests import scan
from facemill.manifests.datasets.csv_file import CsvFile
from tests.manifests.dataset_trees import touch


@pytest.fixture
def table(tmp_path):
    """`table(text, *files)` writes corpus.csv and the files it names; returns its path."""

    def write(text, *files):
        touch(tmp_path, files)
        (tmp_path / "corpus.csv").write_text(text)
        return str(tmp_path / "corpus.csv")

    return write


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_two_columns_are_enough(table, tmp_path):
    report = scan("csv", table("path,label\na.mp4,Real\nsub/b.mp4,FAKE\n", "a.mp4", "sub/b.mp4"), split="all-test")
    real, fake = by_path(report)["a.mp4"], by_path(report)["sub/b.mp4"]
    assert (real.video_id, real.method, real.label, real.quality) == ("corpus-real-native-a", "real", 0, "native")
    assert (fake.method, fake.label, fake.source_id, fake.subject_ids) == ("fake", 1, None, ())
    assert fake.root == str(tmp_path)
    assert report.unpaired == []


def test_every_column_counts(table):
    text = (
        "path,label,method,source,split,subject,quality,mask,ignored\n"
        "r/1.mp4,0,original,,val,ann,c23,,x\n"
        "r/2.mp4,0,,,train,bob,c23,,x\n"
        "f/1.mp4,1,swap,r/1.mp4,VAL,ann; eve,c23,m/1.mp4,x\n"
        "f/2.mp4,1,swap,2,train,bob|dan,c23,,x\n"
    )
    report = scan("csv", table(text, "r/1.mp4", "r/2.mp4", "f/1.mp4", "f/2.mp4", "m/1.mp4"))
    entries = by_path(report)
    assert entries["r/1.mp4"].method == "real"
    assert entries["f/1.mp4"].source_id == entries["r/1.mp4"].video_id
    assert entries["f/2.mp4"].source_id == entries["r/2.mp4"].video_id
    assert entries["f/1.mp4"].subject_ids == ("corpus-ann", "corpus-eve")
    assert entries["f/2.mp4"].subject_ids == ("corpus-bob", "corpus-dan")
    assert entries["f/1.mp4"].split == "val"
    assert entries["f/1.mp4"].mask_path == "m/1.mp4"
    assert report.unknown == report.missing == []


def test_names_that_look_like_numbers_stay_names(table):
    report = scan("csv", table("path,label,subject\n001,0,007\n", "001"), split="all-test")
    assert by_path(report)["001"].subject_ids == ("corpus-007",)


def test_equal_stems_in_two_folders_are_two_videos(table):
    text = "path,label\na/1.mp4,1\nb/1.mp4,1\n"
    entries = scan("csv", table(text, "a/1.mp4", "b/1.mp4"), split="all-test").entries
    assert len({entry.video_id for entry in entries}) == 2


def test_a_source_in_another_quality_does_not_pair(table):
    text = "path,label,source,quality\nr.mp4,0,,c40\nf.mp4,1,r.mp4,c23\n"
    report = scan("csv", table(text, "r.mp4", "f.mp4"), split="all-test")
    assert report.unpaired == ["f.mp4"]
    assert by_path(report)["f.mp4"].source_id is None


def test_a_stem_that_two_originals_share_does_not_pair(table):
    text = "path,label,source\na/r.mp4,0,\nb/r.mp4,0,\nf.mp4,1,r\n"
    report = scan("csv", table(text, "a/r.mp4", "b/r.mp4", "f.mp4"), split="all-test")
    assert report.unpaired == ["f.mp4"]


def test_what_is_not_there_is_missing_and_unpairs(table):
    text = "path,label,source,mask\nr.mp4,0,,\nf.mp4,1,r,m.mp4\n"
    report = scan("csv", table(text, "f.mp4"), split="all-test")
    assert report.missing == ["m.mp4", "r.mp4"]
    assert report.unpaired == ["f.mp4"]
    assert by_path(report)["f.mp4"].mask_path is None


def test_one_quality_can_be_asked_for(table):
    text = "path,label,quality\na.mp4,0,c23\nb.mp4,0,c40\n"
    report = scan("csv", table(text, "a.mp4", "b.mp4"), quality="c40", split="all-test")
    assert list(by_path(report)) == ["b.mp4"]


def test_a_repeated_row_is_a_duplicate(table):
    report = scan("csv", table("path,label\na.mp4,0\n./a.mp4,real\n", "a.mp4"), split="all-test")
    assert report.duplicate == ["a.mp4"]


def test_another_folder_may_hold_the_videos(table, tmp_path):
    touch(tmp_path / "videos", ["a.mp4"])
    path = table(f"path,label\na.mp4,0\n{tmp_path}/videos/b.mp4,1\n", "videos/b.mp4")
    report = scan(CsvFile(folder=str(tmp_path / "videos")), path, split="all-test")
    assert sorted(by_path(report)) == ["a.mp4", "b.mp4"]


def test_parquet_of_any_types(tmp_path):
    touch(tmp_path, ["a.mp4", "b.mp4"])
    columns = {"path": pa.array(["a.mp4", "b.mp4"], pa.large_string()), "label": [0, 1], "subject": [7, None]}
    pq.write_table(pa.table(columns), tmp_path / "corpus.parquet")
    report = scan("csv", str(tmp_path / "corpus.parquet"), split="all-test")
    assert [(entry.label, entry.subject_ids) for entry in report.entries] == [(1, ()), (0, ("corpus-7",))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.mp4,0\n", r"Row 1 .*split.*--split identity"),
        ("path,label,split\na.mp4,0,train\na.mp4,0,dev\n", r"Row 2 "),
        ("path\na.mp4\n", "lacks the column label"),
        ("", "not a readable table"),
        ("path,label\na.mp4,maybe\n", "Row 1 has the label 'maybe'"),
        ("path,label\n,0\n", "Row 1 has the path None"),
        ("path,label\n../a.mp4,0\n", "not below"),
        ("path,label\n/etc/a.mp4,0\n", "not below"),
        ("path,label,split\na.mp4,0,train\na.mp4,1,train\n", "twice"),
        ("path,label,split\ngone.mp4,0,train\n", "No csv videos.*1 missing"),
    ],
)
def test_a_broken_table_is_refused(table, text, message):
    with pytest.raises(ManifestError, match=message):
        scan("csv", table(text, "a.mp4"))


def test_a_subject_in_two_splits_is_kept_so_in_one_loud_line(table):
    text = "path,label,split,subject\na.mp4,0,train,ann\nb.mp4,0,test,ann\n"
    report = scan("csv", table(text, "a.mp4", "b.mp4"))
    assert len(report.entries) == 2
    assert report.lines()[-1].startswith("SUBJECTS IN TWO SPLITS: 1 of 1 (corpus-ann).")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match=r"corpus\.csv is not a readable table"):
        scan("csv", str(tmp_path / "corpus.csv"))
