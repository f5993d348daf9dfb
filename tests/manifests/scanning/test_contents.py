from dataclasses import replace

import fsspec.implementations.memory
import pytest
import xxhash

from facemill import ManifestError
from facemill.manifests import VideoEntry, add_contents, find_changed, read_videos, scan, write_videos
from facemill.manifests.scanning.contents import read_contents, size_of
from tests.manifests.dataset_trees import wild_shard, write_archive


@pytest.fixture
def report(tmp_path):
    contents = {"a": b"video", "b": b"other", "c": b"", "d": b"video"}
    for name, content in contents.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
    (tmp_path / "corpus.csv").write_text("path,label\n" + "".join(f"{name}.mp4,0\n" for name in contents))
    return scan("csv", str(tmp_path / "corpus.csv"), split="all-test")


def test_every_video_gets_its_size_and_hash(report, tmp_path):
    told = []
    add_contents(report, on_videos=told.append)
    assert [entry.size_bytes for entry in report.entries] == [5, 5, 0, 5]
    assert report.entries[1].content_hash == f"xxh3:{xxhash.xxh3_128_hexdigest(b'other')}"
    assert sum(told) == 4
    write_videos(report.entries, tmp_path / "videos.parquet")
    assert read_videos(tmp_path / "videos.parquet") == report.entries


def test_what_is_empty_or_repeated_is_reported(report):
    add_contents(report)
    assert report.empty == ["c.mp4"]
    assert report.identical == ["d.mp4"]
    assert {"empty files: 1 (c.mp4)", "files identical to another: 1 (d.mp4)"} <= set(report.lines())


def test_what_cannot_be_read_is_reported(report, tmp_path):
    (tmp_path / "b.mp4").unlink()
    add_contents(report)
    assert report.unreadable == ["b.mp4"]
    assert [entry.content_hash is None for entry in report.entries] == [False, True, False, False]


def test_changed_and_vanished_videos_are_found(report, tmp_path):
    add_contents(report)
    assert find_changed(report.entries) == []
    (tmp_path / "a.mp4").write_bytes(b"vide0")
    (tmp_path / "b.mp4").write_bytes(b"oth")
    (tmp_path / "c.mp4").unlink()
    told = [str(change) for change in find_changed(report.entries)]
    assert [line[:16] for line in told] == ["a.mp4: it hashes", "b.mp4: it has 3 ", "c.mp4: it is mis"]


def test_without_hashes_there_is_nothing_to_compare_with(report):
    with pytest.raises(ManifestError, match="4 of 4 videos have no hash"):
        find_changed(report.entries)


def test_a_sequence_hashes_alike_packed_or_not(tmp_path):
    members = wild_shard(0, "real", 2)
    write_archive(tmp_path / "packed/real_train/0.tar.gz", dict(reversed(members.items())))
    for name, content in members.items():
        path = tmp_path / "unpacked/real_train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    packed, unpacked = (scan("wild", str(tmp_path / name), split="all-test").entries for name in ("packed", "unpacked"))
    contents = read_contents(packed)
    assert contents == read_contents(unpacked)
    assert len(set(contents)) == 2
    assert contents[0].size == sum(len(content) for name, content in members.items() if "/real/0/" in name)


def test_a_sequence_hashes_alike_in_any_order_of_its_images(tmp_path):
    members = {f"images/real/0/{number}.png": bytes([number]) * 9 for number in range(5)}
    found = set()
    for number, order in enumerate((list(members), [*reversed(members)], sorted(members, key=hash))):
        path = tmp_path / str(number) / "sequences.tar"
        write_archive(path, {name: members[name] for name in order})
        entry = VideoEntry("v", "d", "real", 0, "native", "test", str(path.parent), "sequences.tar/images/real/0")
        found.update(read_contents([entry]))
    assert len(found) == 1
    assert None not in found


def test_a_damaged_archive_has_no_contents(tmp_path):
    path = tmp_path / "real_train/0.tar.gz"
    write_archive(path, wild_shard(0, "real", 2))
    entries = scan("wild", str(tmp_path), split="all-test").entries
    path.write_bytes(path.read_bytes()[:60])
    assert read_contents(entries) == [None, None]


def test_remote_videos_are_read_alike(report, tmp_path):
    remote = f"memory://{tmp_path.name}"
    memory = fsspec.filesystem("memory")
    memory.put(f"{tmp_path}/", remote, recursive=True)
    try:
        entries = [replace(entry, root=remote) for entry in report.entries]
        assert read_contents(entries) == read_contents(report.entries)
        assert [size_of(entry) for entry in entries] == [5, 5, 0, 5]
    finally:
        memory.rm(remote, recursive=True)


def test_a_sequence_has_no_size_of_its_own():
    entry = VideoEntry("v", "wild", "real", 0, "native", "train", "/gone", "real_train/1.tar.gz/1/real/0", size_bytes=9)
    assert size_of(entry) is None
    assert size_of(replace(entry, path="real_train/1/real/0")) is None
    assert size_of(replace(entry, path="a.mp4")) == 9


@pytest.mark.parametrize("asked", ["isdir", "size"])
def test_a_servers_error_without_a_base_class_is_told(report, monkeypatch, asked):
    def refuse(*_):
        raise Exception("no\ncredentials")  # as botocore's

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, asked, refuse)
    entry = replace(report.entries[0], root="memory://there")
    if asked == "size":
        with pytest.raises(OSError, match=r"^no credentials$"):
            size_of(entry)
    else:
        assert read_contents([entry]) == [None]
