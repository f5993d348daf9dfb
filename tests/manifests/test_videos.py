import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import ManifestError
from facemill.manifests import VIDEOS, VideoEntry, read_videos, to_table, write_videos
from facemill.manifests.videos import SUBJECTS_NOTE, manifest_digest

ENTRIES = [
    VideoEntry("a", "d", "real", 0, "c23", "train", "/r", "a.mp4", None, ("d-1",)),
    VideoEntry("b", "d", "swap", 1, "c23", "train", "/r", "é b.mp4", "a", ("d-1", "d-2"), "m/b.mp4"),
]


def test_what_is_written_is_read(tmp_path):
    write_videos(ENTRIES, tmp_path / "new" / "videos.parquet")
    assert read_videos(tmp_path / "new" / "videos.parquet") == ENTRIES
    assert pq.read_schema(tmp_path / "new" / "videos.parquet") == VIDEOS


def test_equal_entries_give_equal_bytes_and_nothing_else(tmp_path):
    for name in ("one", "two"):
        write_videos(ENTRIES, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one.roots.json", "two", "two.roots.json"]


@pytest.mark.parametrize(("split", "note"), [("train", "0 of 2 subjects"), ("test", "1 of 2 subjects")])
def test_the_file_notes_how_many_subjects_are_in_two_splits(tmp_path, split, note):
    write_videos([ENTRIES[0], replace(ENTRIES[1], split=split)], tmp_path / "videos.parquet")
    told = pq.read_schema(tmp_path / "videos.parquet").metadata[SUBJECTS_NOTE].decode()
    assert told == f"{note} are in more than one split"


def test_a_manifest_that_breaks_a_rule_is_not_written(tmp_path):
    path = tmp_path / "videos.parquet"
    write_videos(ENTRIES, path)
    before = path.read_bytes()
    with pytest.raises(ManifestError, match="has the quality of its original"):
        write_videos([ENTRIES[0], replace(ENTRIES[1], quality="c40")], path)
    assert path.read_bytes() == before


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match=r"no manifest .*gone\.parquet: make one with `facemill scan`"):
        read_videos(tmp_path / "gone.parquet")


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path, content):
    (tmp_path / "videos.parquet").write_bytes(content)
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        read_videos(tmp_path / "videos.parquet")


def test_a_damaged_page_is_refused(tmp_path):
    path = tmp_path / "videos.parquet"
    write_videos(ENTRIES, path)
    content = bytearray(path.read_bytes())
    content[4:64] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"videos\.parquet"):
        read_videos(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"path": ["a"]}), "video_id is missing"),
        (to_table(ENTRIES, VIDEOS).drop_columns(["root"]), "root is missing"),
        (to_table(ENTRIES[1:], VIDEOS), "names a real video of the manifest"),
        (to_table([], VIDEOS).slice(0), "at least one video"),
    ],
)
def test_a_table_that_is_no_manifest_is_refused(tmp_path, table, message):
    pq.write_table(table, tmp_path / "videos.parquet")
    with pytest.raises(ManifestError, match=rf"videos\.parquet is not a valid manifest: .*{message}"):
        read_videos(tmp_path / "videos.parquet")


def test_a_hundred_thousand_videos_take_a_moment(tmp_path):
    real = ENTRIES[0]
    entries = [replace(real, video_id=f"v{n}", path=f"{n}.mp4", subject_ids=(f"d-{n}",)) for n in range(100_000)]
    write_videos(entries, tmp_path / "videos.parquet")
    started = time.process_time()
    assert len(read_videos(tmp_path / "videos.parquet")) == len(entries)
    assert time.process_time() - started < 10  # about 0.7 s on a quiet core


def test_the_digest_of_a_manifest_counts_columns_that_came_later_where_they_say_something():
    plain = manifest_digest(ENTRIES)
    assert plain == "9ca0bf8bbe276dfc8315fa3b03d6c093171bf90661ad826e16a7088a026f21f8"
    for change in ({"fake_periods": ((0.0, 1.0),)}, {"attributes": ("a=b",)}, {"content": "frames"}):
        assert manifest_digest([ENTRIES[0], replace(ENTRIES[1], **change)]) != plain
    with_attributes = manifest_digest([replace(ENTRIES[0], attributes=("a=b",))])  # which came before `content`
    assert with_attributes == "6dcece742d91affe05e7355e14655a9dd43ba74fa2efa108c7a30b1aefd7a524"


def test_a_manifest_from_before_periods_and_attributes_is_read(tmp_path):
    write_videos(ENTRIES, tmp_path / "videos.parquet")
    table = pq.read_table(tmp_path / "videos.parquet").drop_columns(["fake_periods", "attributes", "content"])
    pq.write_table(table, tmp_path / "videos.parquet")
    assert read_videos(tmp_path / "videos.parquet") == ENTRIES
