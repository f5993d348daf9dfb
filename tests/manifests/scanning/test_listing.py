import errno
import json
import os
import tracemalloc
import unicodedata

import fsspec
import pytest

from facemill import ManifestError
from facemill.manifests.scanning.listing import list_files, list_folders_of, list_videos, locate
from tests.manifests.dataset_trees import touch, write_zip


@pytest.mark.parametrize(
    ("root", "place"),
    [
        ("/data", "/data/x/a.mp4"),
        ("s3://bucket", "s3://bucket/x/a.mp4"),
        ("s3://bucket/deep/", "s3://bucket/deep/x/a.mp4"),
        ("zip://::s3://bucket/all.zip", "zip://x/a.mp4::s3://bucket/all.zip"),
        ("zip://in::/all.zip", "zip://in/x/a.mp4::/all.zip"),
    ],
)
def test_locate(root, place):
    assert locate(root, "x/a.mp4") == place


def test_files_are_listed_relative_and_sorted(tmp_path):
    touch(tmp_path, ["b.mp4", "a/ü.mp4", "a/deep/x y.txt", ".hidden"])
    listing = list_files(tmp_path)
    assert listing.paths == (".hidden", "a/deep/x y.txt", "a/ü.mp4", "b.mp4")
    assert listing.root == str(tmp_path)


def test_a_relative_root_is_made_absolute(tmp_path, monkeypatch):
    touch(tmp_path, ["data/a.mp4"])
    monkeypatch.chdir(tmp_path)
    assert list_files("data").root == str(tmp_path / "data")
    assert list_files("data/").paths == ("a.mp4",)


def test_a_name_that_is_not_utf8_can_be_shown(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).touch()
    assert list_files(tmp_path).paths == ("caf\\udce9.mp4",)


def test_a_zip_is_a_root_like_any_other(tmp_path):
    url = f"zip://::file://{tmp_path}/all.zip"
    archive = fsspec.filesystem("zip", fo=str(tmp_path / "all.zip"), mode="w")
    archive.pipe({"x/a.txt": b"\xef\xbb\xbftext", "b.mp4": b""})
    archive.close()
    listing = list_files(url)
    assert listing.paths == ("b.mp4", "x/a.txt")
    assert listing.read_text("x/a.txt") == "text"


def test_a_remote_folder_that_is_not_there_is_empty():
    assert list_files("memory://nothing-here").paths == ()


def test_a_protocol_that_nobody_knows_is_refused():
    with pytest.raises(ManifestError, match="nosuchprotocol://x cannot be listed"):
        list_files("nosuchprotocol://x")


def test_text_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "train.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match=r"train\.json cannot be read"):
        list_files(tmp_path).read_text("train.json")


def test_folders_that_link_to_each_other_are_listed_once(tmp_path):
    touch(tmp_path, ["a/1.mp4", "b/2.mp4", "c/d/3.mp4"])
    for folder, other in (("a", "b"), ("b", "a"), ("c/d", "c"), ("c", "a")):
        for number in range(2):
            (tmp_path / folder / f"to {other} {number}").symlink_to(tmp_path / other)
    assert list_files(tmp_path).paths == ("a/1.mp4", "b/2.mp4", "c/d/3.mp4")


def test_a_linked_folder_is_listed_once_where_it_really_lies(tmp_path):
    touch(tmp_path, ["z/1.mp4"])
    (tmp_path / "a").symlink_to(tmp_path / "z")
    assert list_files(tmp_path).paths == ("z/1.mp4",)


def refuse(folder):
    """A stand-in for `os.scandir` that may not list the folder; tests may run as root, who may."""
    scandir = os.scandir

    def scan(path="."):
        if os.fspath(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(path)

    return scan


@pytest.mark.parametrize("folder", ["", "locked"])
def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path, monkeypatch, folder):
    touch(tmp_path, ["a.mp4", "locked/b.mp4"])
    monkeypatch.setattr(os, "scandir", refuse(tmp_path / folder))
    with pytest.raises(ManifestError, match=rf"{tmp_path / folder} cannot be listed \(Permission denied\)"):
        list_files(tmp_path)


def test_a_folder_of_a_table_that_may_not_be_listed_is_an_error(tmp_path, monkeypatch):
    def listdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    touch(tmp_path, ["locked/b.mp4"])
    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(ManifestError, match=r"locked cannot be listed \(Permission denied\)"):
        list_folders_of(str(tmp_path), ["locked/b.mp4"])


def test_folders_of_paths_hold_what_is_beside_them_only(tmp_path):
    touch(tmp_path, ["a/1.mp4", "a/2.mp4", "a/deep/3.mp4", "b/4.mp4"])
    assert list_folders_of(str(tmp_path), ["a/1.mp4", "gone/x.mp4"]).paths == ("a/1.mp4", "a/2.mp4", "a/deep")


def test_a_name_is_found_in_its_other_unicode_form(tmp_path):
    touch(tmp_path, [unicodedata.normalize("NFD", "ä/é.mp4")])
    listing = list_folders_of(str(tmp_path), ["ä/é.mp4"])
    assert listing.find(unicodedata.normalize("NFC", "ä/é.mp4")) == unicodedata.normalize("NFD", "ä/é.mp4")
    assert listing.find("ä/e.mp4") is None


def test_a_folder_of_images_stands_for_a_video_unless_there_is_one(tmp_path):
    touch(tmp_path, ["a/1.png", "a/2.png", "b/1.png", "b.mp4", "c/d/1.jpg", "c/list.txt", "0.png"])
    write_zip(tmp_path / "part.zip", {"e/1.png": b"", "e/meta.json": b"{}"})
    listing = list_videos(str(tmp_path))
    assert listing.frames == {"a.mp4": "a", "c/d.mp4": "c/d", "part.zip/e.mp4": "part.zip/e"}
    assert listing.paths == ("a.mp4", "b.mp4", "c/d.mp4", "c/list.txt", "part.zip/e.mp4", "part.zip/e/meta.json")
    assert listing.read_text("part.zip/e/meta.json") == "{}"
    with pytest.raises(ManifestError, match="cannot be read"):
        listing.read_text("part.zip/e/gone.json")


def rows_of(folder, text):
    (folder / "rows.json").write_text(text, encoding="utf-8")
    return list_files(folder).read_json_rows("rows.json")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        " [ ]\n",
        '[{"a": 1}]',
        '\t[ {"a": [{"b": "]"}]} ,\r\n {} , {"\u00e9": null}]\n',
        json.dumps([{"n": n} for n in range(99)]),
    ],
)
def test_rows_are_those_of_the_json_file(tmp_path, text):
    assert list(rows_of(tmp_path, text)) == json.loads(text)


@pytest.mark.parametrize(
    "text", ['[{"a": 1},]', '[{"a": 1}', '[{"a": 1} {}]', '[{"a": 1}] {}', "[,]", '[{"a": }]', "[", '[{"a": 1}}']
)
def test_rows_that_are_no_json_are_refused(tmp_path, text):
    with pytest.raises(ValueError):  # noqa: PT011, so that the texts are known to be wrong
        json.loads(text)
    with pytest.raises(ManifestError, match=r"rows.json is not JSON .*: download it again"):
        list(rows_of(tmp_path, text))


@pytest.mark.parametrize("text", ['{"a": 1}', "[1]", '[{"a": 1}, "b"]', "", "null"])
def test_rows_that_describe_no_videos_are_refused(tmp_path, text):
    with pytest.raises(ManifestError, match=r"rows.json does not list videos: restore the file"):
        list(rows_of(tmp_path, text))


def test_rows_are_not_in_memory_together(tmp_path):
    """A row takes four times the memory of its text, which is held twice while it is decoded."""
    text = json.dumps([{"file": f"id{n:05d}/{n}/real.mp4", "periods": [[0.5, n]], "kind": "real"} for n in range(5000)])
    rows = rows_of(tmp_path, text)
    tracemalloc.start()
    count = sum(1 for _ in rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 5000
    assert peak < 2.5 * len(text)


def test_a_missing_file_is_named_with_what_may_be_done_instead(tmp_path):
    listing = list_files(tmp_path)
    missing = f"{tmp_path} lacks list.txt: copy it from the dataset's download"
    for read, instead in (
        (listing.read_split_list, ", or pass --split identity:80/10/10"),
        (lambda path: list(listing.read_csv_rows(path, [])), ""),
        (lambda path: list(listing.read_json_rows(path)), ""),
    ):
        with pytest.raises(ManifestError) as caught:
            read("list.txt")
        assert str(caught.value) == f"{missing}{instead}."
