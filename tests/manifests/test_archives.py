import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest

from facemill import ManifestError
from facemill.manifests import archives
from facemill.manifests.archives import (
    DAMAGE,
    Archive,
    archive_of,
    is_archive,
    list_archive,
    open_archive,
    open_file,
    read_archive,
    split_archive,
)
from facemill.manifests.scanning.listing import list_files
from tests.manifests.dataset_trees import write_archive, write_zip


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


def test_names_tell_archives():
    assert is_archive("x/1.tar.gz")
    assert is_archive("x/1.ZIP")
    assert not is_archive("x/1.rar")


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


MEMBERS = {"a/1.mp4": b"one" * 1000, "a/2.mp4": bytes(range(256)) * 20, "3.json": b"{}"}
KINDS = {
    "stored.zip": lambda path: write_zip(path, MEMBERS, zipfile.ZIP_STORED),
    "deflated.zip": lambda path: write_zip(path, MEMBERS),
    "plain.tar": lambda path: write_archive(path, MEMBERS, "w"),
    "packed.tar.gz": lambda path: write_archive(path, MEMBERS),
    "packed.tgz": lambda path: write_archive(path, MEMBERS, "w:xz"),
}


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("remote", [False, True])
def test_members_are_read_in_any_order_from_where_they_are(tmp_path, name, remote):
    KINDS[name](tmp_path / name)
    place = str(tmp_path / name)
    if remote:
        place = f"memory://{tmp_path.name}/{name}"
        with fsspec.open(place, "wb") as file:
            file.write((tmp_path / name).read_bytes())
    assert list_archive(place) == list(MEMBERS)
    assert {member: file.read() for member, file in read_archive(place)} == MEMBERS
    archive = Archive(place)
    assert archive.folders == {"a": ["1.mp4", "2.mp4"], "": ["3.json"]}
    for member, content in reversed(MEMBERS.items()):
        assert member in archive
        assert archive.size(member) == len(content)
        assert archive_of(f"{place}/{member}") == (place, member)
        with open_file(f"{place}/{member}") as file:
            assert file.read(7) == content[:7]
            file.seek(0)
            assert file.read() == content
    assert "a" not in archive
    with pytest.raises(FileNotFoundError, match=r"no a/9\.mp4"), open_file(f"{place}/a/9.mp4"):
        pass


def test_a_member_of_a_chained_url_is_found():
    assert archive_of("zip://b/part.zip/c/1.mp4::s3://x/y.zip") == ("zip://b/part.zip::s3://x/y.zip", "c/1.mp4")
    assert archive_of("zip://c/1.mp4::s3://x/y.zip") is None


def test_a_folder_with_an_archives_name_is_a_folder(tmp_path):
    (tmp_path / "part.zip").mkdir()
    write_zip(tmp_path / "part.zip/inner.zip", MEMBERS)
    assert archive_of(f"{tmp_path}/part.zip/inner.zip/a/1.mp4") == (f"{tmp_path}/part.zip/inner.zip", "a/1.mp4")
    (tmp_path / "part.zip/1.mp4").touch()
    assert archive_of(f"{tmp_path}/part.zip/1.mp4") is None


def test_an_archive_stays_open_until_it_changes(tmp_path):
    path = tmp_path / "1.zip"
    write_zip(path, MEMBERS)
    first = open_archive(str(path))
    assert open_archive(str(path)) is first
    write_zip(path, {"new": b"x" * 99})
    assert "new" in open_archive(str(path))
    assert "new" not in first


def unsafe_zip(path: Path, how: str) -> None:
    """A zip whose second member is not to be trusted."""
    name = {"up": "a/../../b.mp4", "absolute": "/b.mp4"}.get(how, "a/b.mp4")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/1.mp4", b"good")
        member = zipfile.ZipInfo(name)
        if how == "link":
            member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        packed.writestr(member, b"/etc/passwd")
        if how == "twice":
            packed.writestr("./a/1.mp4", b"other")
        if how == "bomb":
            packed.writestr("a/big.mp4", bytes(3_000_000))
    if how == "encrypted":
        data = bytearray(path.read_bytes())
        for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            data[data.rindex(mark) + at] |= 1
        path.write_bytes(data)
    if how == "nameless":
        path.write_bytes(path.read_bytes().replace(b"a/b.mp4", b"\0/b.mp4"))
    if how == "halved":
        path.write_bytes(path.read_bytes()[:-30])
    if how == "page":
        path.write_bytes(b"<html>Quota exceeded</html>")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("up", r"unsafe member 'a/\.\./\.\./b\.mp4': do not unpack it"),
        ("absolute", "unsafe member '/b.mp4'"),
        ("link", "unsafe member 'a/b.mp4'"),
        ("nameless", "a member without a name: pack it again"),
        ("encrypted", "encrypted, as 'a/b.mp4' in it: pack its files without a password"),
        ("twice", r"two members '\./a/1\.mp4', of which one hides the other"),
        ("bomb", "expands to more than 100 times its size"),
        ("halved", "damaged or not an archive"),
        ("page", "damaged or not an archive"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_a_zip_is_refused_for(tmp_path, monkeypatch, how, words):
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    unsafe_zip(tmp_path / "1.zip", how)
    for read in (list_archive, Archive, lambda place: list(read_archive(place))):
        with pytest.raises(ManifestError, match=words):
            read(str(tmp_path / "1.zip"))
    assert list_files(tmp_path, archives=True).unreadable == ("1.zip",)


@pytest.mark.parametrize("name", ["1.tar.gz", "1.tar"])
def test_a_tar_that_expands_beyond_reason_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    write_archive(tmp_path / name, {"a/1.mp4": bytes(3_000_000)})
    for read in (list_archive, Archive, lambda place: list(read_archive(place))):
        with pytest.raises(ManifestError, match="expands to more than 100 times"):
            read(str(tmp_path / name))


def test_a_bomb_is_not_unpacked_until_the_disk_is_full(tmp_path, monkeypatch):
    """Whatever its members claim to hold."""
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    with gzip.open(tmp_path / "1.tar.gz", "wb") as packed:
        packed.write(tarfile.TarInfo("a.mp4").tobuf() + bytes(30_000_000))
    files = []
    temporary = archives.TemporaryFile
    monkeypatch.setattr(archives, "TemporaryFile", lambda: files.append(temporary()) or files[-1])
    sizes = []
    refuse = archives._refuse_bomb
    monkeypatch.setattr(archives, "_refuse_bomb", lambda place: sizes.append(files[0].tell()) or refuse(place))
    with pytest.raises(ManifestError, match="expands to more than 100 times"):
        Archive(str(tmp_path / "1.tar.gz"))
    assert sizes[0] < 10_000_000


def test_a_damaged_member_is_its_own_fault(tmp_path):
    """With a bit of its content changed, and with its local header overwritten."""
    path = tmp_path / "1.zip"
    write_zip(path, {name: content + b"end" for name, content in MEMBERS.items()}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"one" * 5)] ^= 4
    data[data.index(b"a/2.mp4")] ^= 4
    path.write_bytes(data)
    for broken in ("a/1.mp4", "a/2.mp4"):
        with pytest.raises(OSError, match="is damaged"), open_file(f"{path}/{broken}") as file:
            file.read()
    with open_file(f"{path}/3.json") as file:
        assert file.read() == b"{}end"
    read = {}
    for name, file in read_archive(str(path)):
        try:
            read[name] = file.read()
        except DAMAGE:
            read[name] = None
    assert read == {"a/1.mp4": None, "a/2.mp4": None, "3.json": b"{}end"}


def test_an_archive_in_an_archive_is_told(tmp_path):
    write_zip(tmp_path / "all.zip", {"dfdc_train_part_00.zip": b"PK", "a.mp4": b""})
    listing = list_files(tmp_path, archives=True)
    assert listing.unreadable == ("all.zip/dfdc_train_part_00.zip",)
    assert listing.paths == ("all.zip/a.mp4", "all.zip/dfdc_train_part_00.zip")
    assert list_files(tmp_path).paths == ("all.zip",)


def test_folders_that_unix_packed_into_a_zip_are_no_files(tmp_path):
    """As `zip -r` packs them: with members for folders, which have modes of their own."""
    folder = tmp_path / "films"
    (folder / "real").mkdir(parents=True)
    (folder / "real" / "one.mp4").write_bytes(b"film")
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as packed:
        for path in (folder, folder / "real", folder / "real" / "one.mp4"):
            packed.write(path, path.relative_to(tmp_path))
    assert list_archive(str(tmp_path / "films.zip")) == ["films/real/one.mp4"]
