import io
import tarfile

import pytest

from facemill import ManifestError
from facemill.manifests.archives import is_archive, read_archive, split_archive
from facemill.manifests.scanning.listing import is_image
from facemill.manifests.sequences import is_sequence
from tests.manifests.dataset_trees import write_archive


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("real_train/1.tar.gz/1/real/0", ("real_train/1.tar.gz", "1/real/0")),
        ("1.TAR/x", ("1.TAR", "x")),
        ("a/b.tgz/c", ("a/b.tgz", "c")),
        ("real_train/1/real/0", None),
        ("real_train/1.tar.gz", None),
        ("a.mp4", None),
    ],
)
def test_a_path_into_an_archive_is_taken_apart(path, parts):
    assert split_archive(path) == parts


def test_names_tell_archives_pictures_and_sequences():
    assert is_archive("x/1.tar.gz")
    assert is_archive("x/1.ZIP")
    assert not is_archive("x/1.rar")
    assert is_image("x/1.PNG")
    assert not is_image("x/1.mp4")
    assert not is_image("x/._1.png")
    assert is_sequence("x/1.tar.gz/0")
    assert is_sequence("x/0")
    assert not is_sequence("x/0.mp4")


def test_an_archive_is_streamed_in_its_order(tmp_path):
    members = {"./1/real/0/b.png": b"bb", "1/real/0/a.png": b"a"}
    write_archive(tmp_path / "1.tar.gz", members)
    read = [(name, file.read()) for name, file in read_archive(str(tmp_path / "1.tar.gz"))]
    assert read == [("1/real/0/b.png", b"bb"), ("1/real/0/a.png", b"a")]


def test_a_link_is_refused_with_its_name(tmp_path):
    link = tarfile.TarInfo("1/real/0/a.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "1.tar", "w") as archive:
        archive.addfile(link, io.BytesIO())
    with pytest.raises(ManifestError, match=r"unsafe member '1/real/0/a\.png'"):
        list(read_archive(str(tmp_path / "1.tar")))


@pytest.mark.parametrize("content", [b"", b"<html></html>"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "1.tar.gz").write_bytes(content)
    with pytest.raises(ManifestError, match="damaged or not an archive"):
        list(read_archive(str(tmp_path / "1.tar.gz")))
    with pytest.raises(ManifestError, match="damaged or not an archive"):
        list(read_archive(str(tmp_path / "gone.tar.gz")))


@pytest.mark.parametrize("hurt", ["cut in a header", "cut between members", "header overwritten"])
def test_an_archive_that_ends_too_early_is_refused(tmp_path, hurt):
    """Where tarfile itself would find an archive of two members, and nothing wrong with it."""
    path = tmp_path / "1.tar"
    write_archive(path, {f"1/real/0/{n}.png": bytes(700) for n in range(4)}, "w")
    packed = bytearray(path.read_bytes())
    third = 2 * (512 + 1024)  # a header, and a content padded to blocks
    if hurt == "header overwritten":
        packed[third : third + 512] = b"\xff" * 512
    else:
        del packed[third + (300 if hurt == "cut in a header" else 0) :]
    path.write_bytes(packed)
    with tarfile.open(path) as archive:
        assert len(archive.getnames()) == 2
    with pytest.raises(ManifestError, match="damaged or not an archive"):
        list(read_archive(str(path)))


def test_long_names_and_headers_of_other_kinds_are_read(tmp_path):
    name = f"1/real/0/{'long' * 60}.png"
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "1.tar", "w", format=tar_format) as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        assert [path for path, _ in read_archive(str(tmp_path / "1.tar"))] == [name]
