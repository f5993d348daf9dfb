"""Archives of videos and images, zip and tar, which are read in place.

The path of a member continues after the archive's name as if the archive were a folder:
`real_train/1.tar.gz/1/real/0.png` is the file `1/real/0.png` of `real_train/1.tar.gz`.

Members of a zip and of a plain tar are read from where they are. A compressed tar can only be read from its start: it
is unpacked once, into an anonymous temporary file. No name from an archive is ever used on disk.
"""

import bz2
import gzip
import io
import lzma
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, NoReturn, Self
from weakref import finalize

from facemill import ManifestError
from facemill.manifests.urls import as_os_error, is_url, load_fsspec

__all__ = [
    "DAMAGE",
    "Archive",
    "archive_of",
    "is_archive",
    "list_archive",
    "open_archive",
    "open_file",
    "read_archive",
    "split_archive",
    "storable",
]

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
MOST_EXPANDED = 100
"""Largest ratio of an archive's content to its size, beyond the first `FREE_BYTES`: videos and images hardly shrink."""
FREE_BYTES = 256 << 20
KEPT_OPEN, KEPT_UNPACKED = 8, 2
"""Archives that stay open for further members, and compressed tars among them, whose content is on disk so long."""
CHUNK = 1 << 20
DAMAGE = (
    ArithmeticError, EOFError, NotImplementedError, OSError, ValueError, lzma.LZMAError, struct.error, tarfile.TarError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged member may raise."""
_Opened = zipfile.ZipFile | tarfile.TarFile
_Member = zipfile.ZipInfo | tarfile.TarInfo
_COMPRESSED = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile


def storable(path: str) -> str:
    """Escape a name that is not UTF-8, which Parquet cannot store, so that it can be reported."""
    return path.encode(errors="backslashreplace").decode()


def is_archive(path: str) -> bool:
    """Whether the name is that of a zip or tar archive."""
    return path.lower().endswith(SUFFIXES)


def split_archive(path: str) -> tuple[str, str] | None:
    """Paths of the archive and of what is inside it, by names alone; None for a path outside archives."""
    return next(_splits(path), None)


def archive_of(place: str) -> tuple[str, str] | None:
    """The archive that holds the file or folder at a local path or fsspec URL, and its path inside; None without one.

    A folder on disk is no archive, whatever its name.
    """
    return next((found for found in _splits(place) if is_url(place) or not Path(found[0]).is_dir()), None)


def _splits(place: str) -> Iterator[tuple[str, str]]:
    head, chain, tail = place.partition("::")
    parts = head.split("/")
    for end, part in enumerate(parts[:-1], start=1):
        if is_archive(part):
            yield "/".join(parts[:end]) + chain + tail, "/".join(parts[end:])


@contextmanager
def open_file(place: str) -> Iterator[IO[bytes]]:
    """Open a local path, an fsspec URL or a member of an archive for reading bytes.

    Raises:
        OSError: it cannot be opened, or a member is damaged.
        ManifestError: its archive is damaged or unsafe.
    """
    packed = archive_of(place)
    if packed is None:
        with _open_whole(place) as file:
            yield file
        return
    try:
        with open_archive(packed[0]).open(packed[1]) as file:
            yield file
    except OSError:
        raise
    except DAMAGE as error:
        raise OSError(f"{place} is damaged ({error})") from error


@contextmanager
def _open_whole(place: str) -> Iterator[IO[bytes]]:
    if not is_url(place):
        if Path(place).exists() and not Path(place).is_file():
            raise OSError(f"{place} is not a regular file")  # reading a pipe would block
        with Path(place).open("rb") as file:
            yield file
        return
    with ExitStack() as resources:
        with as_os_error():
            file = resources.enter_context(load_fsspec().open(place, "rb"))
        yield file


def list_archive(place: str) -> list[str]:
    """Names of the files in an archive, in its order.

    Raises:
        ManifestError: as `read_archive`.
    """
    with ExitStack() as resources, _told(place):
        return [name for name, _ in _members(place, *_open(place, resources))]


def read_archive(place: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Stream the names and files of an archive, in its order; read each file before requesting the next.

    Args:
        place: local path or fsspec URL.

    Raises:
        ManifestError: it is damaged, not an archive, or not safe: with an absolute path, `..`, a link, a device, an
            encrypted member or two of one name, or expanding to more than 100 times its size. Reading a file raises
            one of `DAMAGE` if only this member is damaged.
    """
    with ExitStack() as resources, _told(place):
        opened, most = _open(place, resources)
        for name, member in _members(place, opened, most):
            yield name, _open_member(opened, member)


class Archive:
    """The files of an archive, in any order; not for use by several threads.

    Args:
        place: local path or fsspec URL.

    Attributes:
        folders: names of the files in each folder, without the folder's.

    Raises:
        ManifestError: as `read_archive`.
    """

    def __init__(self, place: str) -> None:
        resources = ExitStack()
        finalize(self, resources.close)
        with _told(place):
            self._opened, most = _open(place, resources)
            if isinstance(self._opened, tarfile.TarFile) and isinstance(self._opened.fileobj, _COMPRESSED):
                self._opened = _unpacked(place, self._opened, most, resources)
            self._members = dict(_members(place, self._opened, most))

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self._members:
            found[posixpath.dirname(name)].append(posixpath.basename(name))
        return dict(found)

    def size(self, name: str) -> int:
        """Size of a file in bytes; raises FileNotFoundError if there is none of this name."""
        return _size(self._member(name))

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; raises FileNotFoundError if there is none of this name."""
        return _open_member(self._opened, self._member(name))

    def _member(self, name: str) -> _Member:
        if name not in self._members:
            raise FileNotFoundError(f"There is no {name} in the archive")
        return self._members[name]


def open_archive(place: str) -> Archive:
    """An archive, which stays open for further calls until others have been asked for, or it has changed.

    Raises:
        ManifestError: as `read_archive`.
    """
    version = None
    if not is_url(place):
        with suppress(OSError):
            status = Path(place).stat()
            version = status.st_ino, status.st_size, status.st_mtime_ns
    compressed = place.partition("::")[0].lower().endswith((".gz", ".tgz"))
    return (_kept_unpacked if compressed else _kept_open)(place, version)


def _archive(place: str, version: object) -> Archive:
    return Archive(place)


_kept_open, _kept_unpacked = lru_cache(KEPT_OPEN)(_archive), lru_cache(KEPT_UNPACKED)(_archive)


def _open(place: str, resources: ExitStack) -> tuple[_Opened, int]:
    """The archive, and to how many bytes it may expand."""
    packed = resources.enter_context(_open_whole(place))
    most = FREE_BYTES + MOST_EXPANDED * packed.seek(0, os.SEEK_END)
    packed.seek(0)
    if place.partition("::")[0].lower().endswith(".zip"):
        return resources.enter_context(zipfile.ZipFile(packed)), most
    return resources.enter_context(tarfile.open(fileobj=packed, mode="r:*", tarinfo=_TarMember)), most


def _members(place: str, opened: _Opened, most: int) -> Iterator[tuple[str, _Member]]:
    """Names and members of all files, in the archive's order."""
    seen: set[str] = set()
    total = 0
    for member in opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened:
        name = member.filename if isinstance(member, zipfile.ZipInfo) else member.name
        if not name:  # of which zipfile cannot tell whether it is a folder
            raise ManifestError(f"{place} has a member without a name: pack it again.")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not _is_plain(member):
            raise ManifestError(f"{place} has the unsafe member {name!r}: do not unpack it.")
        if isinstance(member, zipfile.ZipInfo) and member.flag_bits & 1:
            raise ManifestError(f"{place} is encrypted, as {name!r} in it: pack its files without a password.")
        if member.is_dir() if isinstance(member, zipfile.ZipInfo) else member.isdir():
            continue
        total += _size(member)
        if total > most:
            _refuse_bomb(place)
        listed = storable(str(path))
        if listed in seen:
            raise ManifestError(f"{place} has two members {name!r}, of which one hides the other: pack it again.")
        seen.add(listed)
        yield listed, member


def _is_plain(member: _Member) -> bool:
    """Whether it is a file or folder, not a link or device."""
    if isinstance(member, tarfile.TarInfo):
        return member.isfile() or member.isdir()
    unix = 3
    return member.create_system != unix or stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)


def _size(member: _Member) -> int:
    return member.file_size if isinstance(member, zipfile.ZipInfo) else member.size


def _open_member(opened: _Opened, member: _Member) -> IO[bytes]:
    """A readable file; an error in the member's own header is raised when it is read."""
    if isinstance(opened, tarfile.TarFile):
        file = opened.extractfile(member)  # type: ignore[arg-type]
        assert file is not None  # folders and links are no members
        return file
    try:
        return opened.open(member)  # type: ignore[arg-type]
    except zipfile.BadZipFile as error:
        return _DamagedFile(error)


class _DamagedFile(io.BytesIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        raise self._error


def _unpacked(place: str, opened: tarfile.TarFile, most: int, resources: ExitStack) -> tarfile.TarFile:
    """The same tar without its compression, in a temporary file."""
    compressed = opened.fileobj
    assert compressed is not None
    compressed.seek(0)
    kept = resources.enter_context(TemporaryFile())  # noqa: SIM115, entered here
    while chunk := compressed.read(CHUNK):
        kept.write(chunk)
        if kept.tell() > most:
            _refuse_bomb(place)
    kept.seek(0)
    return resources.enter_context(tarfile.open(fileobj=kept, mode="r:", tarinfo=_TarMember))


def _refuse_bomb(place: str) -> NoReturn:
    raise ManifestError(f"{place} expands to more than {MOST_EXPANDED} times its size: do not unpack it.")


@contextmanager
def _told(place: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise ManifestError(f"{place} is damaged or not an archive ({error}): download it again.") from error


class _TarMember(tarfile.TarInfo):
    """Raises an error for a damaged or truncated header, which tarfile would treat as the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.count(0) == tarfile.BLOCKSIZE:  # a block of zeros is the real end
                raise
            raise tarfile.ReadError(str(error)) from error
