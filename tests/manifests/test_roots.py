from dataclasses import replace

import pytest

from facemill import ManifestError
from facemill.manifests import VideoEntry, check_roots, read_videos, write_videos


def entries(*roots) -> list[VideoEntry]:
    return [VideoEntry(f"v{n}", "d", "real", 0, "c23", "train", str(root), f"{n}.mp4") for n, root in enumerate(roots)]


def roots(found) -> list[str]:
    return [entry.root for entry in found]


@pytest.mark.parametrize("places", [True, False])
def test_a_manifest_holds_no_local_path(tmp_path, places):
    far, near = tmp_path / "disk" / "secret name", tmp_path / "work" / "corpus"
    written = entries(
        far / "FaceForensics++", near, tmp_path / "work", f"zip://::file://{far}/all.zip", "s3://bucket/x"
    )
    path = tmp_path / "work" / "videos.parquet"
    write_videos(written, path, places=places)
    content = path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"secret name" not in content
    assert b"FaceForensics++" in content
    assert path.with_suffix(".roots.json").is_file() == places


def test_and_here_its_videos_are_found_again(tmp_path):
    written = entries(tmp_path / "disk/ffpp", tmp_path / "disk/two/ffpp", tmp_path / "work/corpus", "s3://bucket/x")
    write_videos(written, tmp_path / "work/videos.parquet")
    assert read_videos(tmp_path / "work/videos.parquet") == written


def test_places_stand_in_a_file_that_people_edit(tmp_path):
    """A line for each root."""
    write_videos(entries("/disk/ffpp", "/disk/dfd"), tmp_path / "videos.parquet")
    expected = '{\n "dfd": "/disk/dfd",\n "ffpp": "/disk/ffpp"\n}'
    assert (tmp_path / "videos.roots.json").read_text() == expected


def test_a_folder_with_its_manifest_can_be_moved(tmp_path):
    write_videos(entries(tmp_path / "one/corpus", tmp_path / "one"), tmp_path / "one/videos.parquet")
    (tmp_path / "one").rename(tmp_path / "two")
    assert roots(read_videos(tmp_path / "two/videos.parquet")) == [str(tmp_path / "two/corpus"), str(tmp_path / "two")]


def test_a_shared_manifest_asks_where_its_videos_are(tmp_path):
    path = tmp_path / "shared/videos.parquet"
    write_videos(entries(tmp_path / "ffpp"), path, places=False)
    with pytest.raises(ManifestError, match=r"does not locate ffpp on this machine: pass --root ffpp=DIR"):
        check_roots(read_videos(path))
    (tmp_path / "mine").mkdir()
    for told in (str(tmp_path / "mine"), f"ffpp={tmp_path / 'mine'}"):
        found = read_videos(path, [told])
        assert roots(found) == [str(tmp_path / "mine")]
        check_roots(found)


def test_each_of_several_roots_is_told_by_name(tmp_path):
    path = tmp_path / "shared/videos.parquet"
    write_videos(entries(tmp_path / "a/ffpp", tmp_path / "b/dfd"), path, places=False)
    assert roots(read_videos(path, ["dfd=/mnt/dfd", "ffpp=s3://b"])) == ["s3://b", "/mnt/dfd"]
    assert roots(read_videos(path, ["dfd=/mnt/dfd"])) == ["ffpp", "/mnt/dfd"]
    for told in ("/mnt", "celebdf=/mnt"):
        with pytest.raises(ManifestError, match=r"matches no root of .*: pass dfd=DIR or ffpp=DIR"):
            read_videos(path, [told])


def test_what_was_told_wins_over_where_it_was_scanned(tmp_path):
    path = tmp_path / "work/videos.parquet"
    write_videos(entries(tmp_path / "ffpp"), path)
    assert roots(read_videos(path, ["/mnt/ffpp"])) == ["/mnt/ffpp"]


def test_names_of_roots_stay_apart(tmp_path):
    written = entries("/a/ffpp", "/b/ffpp-2", "/c/ffpp", "ffpp", "/d/ffpp-3")
    path = tmp_path / "videos.parquet"
    write_videos(written, path)
    assert roots(read_videos(path)) == roots(written)


def test_a_shared_manifest_is_written_again_as_it_is(tmp_path):
    one, two = tmp_path / "x/videos.parquet", tmp_path / "y/videos.parquet"
    write_videos(entries(tmp_path / "ffpp", "/z/ffpp"), one, places=False)
    write_videos(read_videos(one), two, places=False)
    assert one.read_bytes() == two.read_bytes()


def test_a_root_that_is_not_mounted_is_found_before_the_work(tmp_path):
    with pytest.raises(
        ManifestError, match=r"The folder .*/gone of the videos does not exist: mount it, or pass --root"
    ):
        check_roots(entries(tmp_path, tmp_path / "gone"))
    check_roots(entries(tmp_path, "s3://bucket"))


@pytest.mark.parametrize("content", ["[1]", "{"])
def test_a_damaged_file_of_places_is_told(tmp_path, content):
    path = tmp_path / "work/videos.parquet"
    write_videos(entries(tmp_path / "ffpp"), path)
    path.with_suffix(".roots.json").write_text(content)
    with pytest.raises(ManifestError, match=r"videos\.roots\.json cannot be read .*pass --root"):
        read_videos(path)


def test_manifests_of_before_with_absolute_roots_are_read(tmp_path):
    """As they stand: such a root is neither a name nor relative."""
    import pyarrow.parquet as pq

    from facemill.manifests import VIDEOS, to_table

    old = [replace(entry, root="/data/ffpp") for entry in entries("x", "y")]
    pq.write_table(to_table(old, VIDEOS), tmp_path / "videos.parquet")
    assert read_videos(tmp_path / "videos.parquet") == old
