import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import ManifestError
from facemill.manifests import locate, scan
from facemill.manifests.datasets.csv_file import CsvFile
from tests.manifests.dataset_trees import touch, write_zip


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
        ("path,label\n,0\n", "Row 1 has no path"),
        ("path,label\na.mp4,0\ns3://b/a.mp4,1\n", "several file systems"),
        (
            "path,lable, Split \na.mp4,0,train\n",
            "lacks the column label: it has path, lable, split, and needs path and",
        ),
        ("Path,path,label\na.mp4,a.mp4,0\n", "has the column path twice"),
        ("path,label,split\na.mp4,0,train\na.mp4,1,train\n", "twice"),
        ("path,label,split\ngone.mp4,0,train\n", "no csv videos.*1 missing"),
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


@pytest.mark.parametrize(
    "content", [b"pa\xe9th,label\n", b"path,label\n\xe9,1\n", "path,label\n".encode("utf-16")[:-1]]
)
def test_a_table_in_another_encoding_is_refused(tmp_path, content):
    (tmp_path / "corpus.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=r"corpus\.csv is not (UTF-8 text|a readable table .*invalid UTF8)"):
        scan("csv", str(tmp_path / "corpus.csv"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_whatever_a_spreadsheet_saves_is_read(tmp_path, delimiter, end, encoding):
    touch(tmp_path, ["a b.mp4", "f.mp4"])
    lines = [
        ("Subject", "Path", " LABEL ", "Source", "split"),
        ("007", "a b.mp4", "Original", "", "Training"),
        ("008", "f.mp4", " 1.0", "a b.mp4 ", "validation"),
    ]
    text = "".join(delimiter.join(line) + end for line in lines)
    (tmp_path / "corpus.csv").write_bytes(text.encode(encoding))
    entries = by_path(scan("csv", str(tmp_path / "corpus.csv")))
    assert {path: (entry.label, entry.split) for path, entry in entries.items()} == {
        "a b.mp4": (0, "train"),
        "f.mp4": (1, "val"),
    }
    assert entries["f.mp4"].source_id == entries["a b.mp4"].video_id
    assert entries["f.mp4"].subject_ids == ("corpus-008",)


@pytest.mark.parametrize(
    ("words", "label"),
    [("0 0.0 False REAL original pristine", 0), ("1 1.0 True Fake forged manipulated", 1)],
)
def test_words_for_labels(table, words, label):
    files = [f"{number}.mp4" for number in range(6)]
    rows = "".join(f"{file},{word}\n" for file, word in zip(files, words.split(), strict=True))
    entries = scan("csv", table(f"path,label\n{rows}", *files), split="all-test").entries
    assert [entry.label for entry in entries] == [label] * 6


@pytest.mark.parametrize("labels", [[False, True], [0.0, 1.0]])
def test_labels_of_a_parquet_table_may_be_of_any_type(tmp_path, labels):
    touch(tmp_path, ["a.mp4", "b.mp4"])
    pq.write_table(pa.table({"path": ["a.mp4", "b.mp4"], "label": labels}), tmp_path / "corpus.parquet")
    entries = by_path(scan("csv", str(tmp_path / "corpus.parquet"), split="all-test"))
    assert [entries[path].label for path in ("a.mp4", "b.mp4")] == [0, 1]


def test_absolute_paths_may_lie_anywhere(table, tmp_path):
    touch(tmp_path / "disk one", ["real/a.mp4"])
    touch(tmp_path / "disk two", ["fake/b.mp4", "m/b.mp4"])
    one, two = tmp_path / "disk one", tmp_path / "disk two"
    path = table(f"path,label,source,mask\n{one}/real/a.mp4,0,,\n{two}/fake/b.mp4,1,{one}/real/a.mp4,{two}/m/b.mp4\n")
    (tmp_path / "tables").mkdir()
    moved = (tmp_path / "corpus.csv").rename(tmp_path / "tables/corpus.csv")
    assert path != str(moved)
    report = scan("csv", str(moved), split="all-test")
    assert {locate(entry.root, entry.path) for entry in report.entries} == {f"{one}/real/a.mp4", f"{two}/fake/b.mp4"}
    (fake,) = [entry for entry in report.entries if entry.label == 1]
    assert locate(fake.root, fake.mask_path) == f"{two}/m/b.mp4"
    assert fake.source_id is not None
    assert report.missing == report.unpaired == []


def test_absolute_paths_and_sources_below_the_table_are_as_relative_ones(table, tmp_path):
    rows = [("r/1.mp4", 0, ""), ("f/1.mp4", 1, "r/1.mp4")]
    relative = "".join(f"{path},{label},{source}\n" for path, label, source in rows)
    absolute = "".join(f"{tmp_path}/{path},{label},{source and tmp_path / source}\n" for path, label, source in rows)
    expected = scan("csv", table(f"path,label,source\n{relative}", "r/1.mp4", "f/1.mp4"), split="all-test").entries
    assert expected[0].source_id is not None
    assert scan("csv", table(f"path,label,source\n{absolute}"), split="all-test").entries == expected


def test_paths_above_the_table(table, tmp_path):
    touch(tmp_path, ["videos/a.mp4", "lists/corpus.csv"])
    (tmp_path / "lists/corpus.csv").write_text("path,label\n../videos/a.mp4,0\n")
    (entry,) = scan("csv", str(tmp_path / "lists/corpus.csv"), split="all-test").entries
    assert (entry.root, entry.path) == (str(tmp_path / "videos"), "a.mp4")


def test_only_folders_that_the_table_names_are_listed(table, tmp_path, monkeypatch):
    path = table("path,label\nr/a.mp4,0\n", "r/a.mp4", "r/deep/x.mp4", "r/b.mp4", "elsewhere/c.mp4")
    listed = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(str(folder)) or listdir(folder))
    monkeypatch.setattr(os, "walk", None)
    report = scan("csv", path, split="all-test")
    assert listed == [str(tmp_path / "r")]
    assert report.unknown == ["r/b.mp4"]


@pytest.mark.parametrize(("written", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_unicode_form_are_the_same_names(table, tmp_path, written, on_disk):
    text = "path,label,source,mask\nréal/ä.mp4,0,,\nréal/ö.mp4,1,réal/ä.mp4,réal/m/ü.mp4\n"
    files = [unicodedata.normalize(on_disk, name) for name in ("réal/ä.mp4", "réal/ö.mp4", "réal/m/ü.mp4")]
    report = scan("csv", table(unicodedata.normalize(written, text), *files), split="all-test")
    assert report.missing == report.unknown == report.unpaired == []
    for entry in report.entries:
        assert Path(locate(entry.root, entry.path)).is_file()
    (fake,) = [entry for entry in report.entries if entry.label == 1]
    assert Path(locate(fake.root, fake.mask_path)).is_file()
    assert fake.source_id is not None


@pytest.mark.parametrize(
    "rows",
    ["h264.mov,1,sw,q\nh264.mkv,1,sw,q\n", "c.mp4,1,sw,q-p\np-c.mp4,1,sw,q\n", "c.mp4,1,sw-q,p\nx/c.mp4,1,sw,q-p\n"],
)
def test_ids_that_would_run_together_are_told_apart(table, rows):
    files = [row.partition(",")[0] for row in rows.split()]
    entries = scan("csv", table(f"path,label,method,quality\n{rows}", *files), split="all-test").entries
    assert len({entry.video_id for entry in entries}) == 2


def test_pictures_of_a_folder_stay_together(table):
    files = [f"clip{clip}/{frame:03d}.png" for clip in range(9) for frame in range(5)]
    report = scan(
        "csv", table("path,label\n" + "".join(f"{file},0\n" for file in files), *files), split="identity:40/30/30"
    )
    for clip in range(9):
        assert len({entry.split for entry in report.entries if entry.path.startswith(f"clip{clip}/")}) == 1
    assert {entry.split for entry in report.entries} == {"train", "val", "test"}
    assert report.notes[0].startswith("No subjects are known")


def test_where_nothing_is_known_identity_is_refused(table):
    text = "path,label\n" + "".join(f"{n}.mp4,{n % 2}\n" for n in range(20))
    path = table(text, *(f"{n}.mp4" for n in range(20)))
    with pytest.raises(ManifestError, match=r"The subjects of these videos are unknown.*--subject"):
        scan("csv", path, split="identity")
    assert len(scan("csv", path, split="all-test").entries) == 20


def test_pairs_alone_are_something_to_go_by(table):
    text = "path,label,source\n" + "".join(f"r{n}.mp4,0,\nf{n}.mp4,1,r{n}\n" for n in range(10)) + "x.mp4,0,\n"
    names = [f"{letter}{n}.mp4" for letter in "rf" for n in range(10)]
    report = scan("csv", table(text, *names, "x.mp4"), split="identity:40/30/30")
    split_of = {entry.path: entry.split for entry in report.entries}
    assert all(split_of[f"r{n}.mp4"] == split_of[f"f{n}.mp4"] for n in range(10))
    assert report.notes[1] == "1 videos have no known subject and are assigned one by one."


def test_other_columns_are_attributes(table):
    text = "path,label,Gender,note\na.mp4,0,women,\nb.mp4,1,men,x=y\n"
    entries = by_path(scan("csv", table(text, "a.mp4", "b.mp4"), split="all-test"))
    assert entries["a.mp4"].attributes == ("gender=women",)
    assert entries["b.mp4"].attributes == ("gender=men", "note=x=y")


def test_forged_periods(table):
    text = "path,label,fake_periods\na.mp4,0,1-2\nb.mp4,1,3-4.5; 0.5 - 1.2;\nc.mp4,1,\n"
    entries = by_path(scan("csv", table(text, "a.mp4", "b.mp4", "c.mp4"), split="all-test"))
    assert entries["b.mp4"].fake_periods == ((0.5, 1.2), (3.0, 4.5))
    assert entries["a.mp4"].fake_periods is entries["c.mp4"].fake_periods is None


@pytest.mark.parametrize("text", ["soon", "1-", "2-1", "1-2;x"])
def test_odd_periods_are_refused(table, text):
    with pytest.raises(ManifestError, match=f"Row 1 has the fake_periods '{text}': write start and end in seconds"):
        scan("csv", table(f"path,label,fake_periods\na.mp4,1,{text}\n", "a.mp4"), split="all-test")


def test_a_column_tells_what_images_show(table):
    text = "path,label,content\nclips/a,0,\nclips/b,1,crops\nclips/c,1,frames\none.png,0,\ntwo.png,1,crops\nv.mp4,1,\n"
    files = "clips/a/1.png", "clips/b/1.png", "clips/c/1.png", "one.png", "two.png", "v.mp4"
    report = scan("csv", table(text, *files), split="all-test")
    assert {path: entry.content for path, entry in by_path(report).items()} == {
        "clips/a": "frames",
        "clips/b": "crops",
        "clips/c": "frames",
        "one.png": None,
        "two.png": "crops",
        "v.mp4": None,
    }
    assert all(entry.attributes == () for entry in report.entries)


@pytest.mark.parametrize(("path", "content"), [("a.mp4", "crops"), ("a.png", "faces")])
def test_content_is_frames_or_crops_of_images(table, path, content):
    with pytest.raises(ManifestError, match=f"Row 1 has the content '{content}': write frames or crops, of images"):
        scan("csv", table(f"path,label,content\n{path},1,{content}\n", path), split="all-test")


def test_paths_lead_into_archives(table, tmp_path):
    write_zip(tmp_path / "data/part.zip", dict.fromkeys(("x/r.mp4", "x/f.mp4", "x/seq/1.png", "y/stray.mp4"), b""))
    rows = "data/part.zip/x/r.mp4,0,\ndata/part.zip/x/f.mp4,1,r\ndata/part.zip/x/seq,0,\ndata/part.zip/x/gone.mp4,0,\n"
    report = scan("csv", table(f"path,label,source\n{rows}data/nopart.zip/a.mp4,0,\n"), split="all-test")
    entries = by_path(report)
    assert sorted(entries) == [f"data/part.zip/x/{name}" for name in ("f.mp4", "r.mp4", "seq")]
    assert entries["data/part.zip/x/f.mp4"].source_id == entries["data/part.zip/x/r.mp4"].video_id
    assert report.missing == ["data/nopart.zip/a.mp4", "data/part.zip/x/gone.mp4"]
    assert report.unreadable == ["data/nopart.zip"]


def test_the_common_folder_of_absolute_paths_is_no_archive(table, tmp_path):
    write_zip(tmp_path / "data/part.zip", {"x/r.mp4": b"", "x/f.mp4": b""})
    rows = "".join(f"{tmp_path}/data/part.zip/x/{name}.mp4,{label}\n" for label, name in enumerate("rf"))
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/t.csv").write_text(f"path,label\n{rows}")
    report = scan("csv", str(tmp_path / "tables/t.csv"), split="all-test")
    assert sorted(by_path(report)) == ["part.zip/x/f.mp4", "part.zip/x/r.mp4"]
    assert {entry.root for entry in report.entries} == {str(tmp_path / "data")}
