"""Sequences of pictures that stand for a video: a folder of frames, on disk or inside a tar archive.

The path of a sequence is that of its folder. Inside an archive it goes on after the archive's name, as
though the archive were a folder: `real_train/1.tar.gz/1/real/0` is the folder `1/real/0` of
`real_train/1.tar.gz`. A reader takes it apart with `split_archive`.

The pictures are face crops already. They enter a build behind face detection: each is one sample, whole,
resized to `crop.size`; `crop.scale`, `crop.align` and `crop.around` do not apply.
"""

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Self

from facemill import ManifestError
from facemill.manifests.scanning.listing import open_file

__all__ = ["is_archive", "is_picture", "is_sequence", "read_archive", "split_archive"]

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_PICTURES = (".png", ".jpg", ".jpeg")


def is_archive(path: str) -> bool:
    """Whether the name is a tar archive's."""
    return path.lower().endswith(_ARCHIVES)


def is_picture(path: str) -> bool:
    """Whether the name is a frame's; what is hidden, as macOS hides `._1.png` beside `1.png`, is none."""
    return path.lower().endswith(_PICTURES) and not PurePosixPath(path).name.startswith(".")


def is_sequence(path: str) -> bool:
    """Whether the path of a video is that of a sequence: a folder, whose name has no suffix, or inside an archive."""
    return split_archive(path) is not None or not PurePosixPath(path).suffix


def split_archive(path: str) -> tuple[str, str] | None:
    """Path of the archive, and of the folder inside it; None for a path that leads into no archive."""
    parts = path.split("/")
    for end, part in enumerate(parts[:-1], start=1):
        if is_archive(part):
            return "/".join(parts[:end]), "/".join(parts[end:])
    return None


def read_archive(place: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Paths and files of an archive, in its order: streamed, never unpacked; read a file before asking for the next.

    Args:
        place: local path or fsspec URL; compressed in whatever way, or not at all.

    Raises:
        ManifestError: it is damaged, no archive, or holds what could reach outside: an absolute path, `..`,
            a link or a device.
    """
    try:
        with open_file(place) as packed, tarfile.open(fileobj=packed, mode="r|*", tarinfo=_Member) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise ManifestError(f"{place} holds {member.name!r}, which could reach outside: do not unpack it.")
                if (file := archive.extractfile(member)) is not None:
                    yield str(path), file
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ManifestError(f"{place} is damaged or no archive ({error}): download it again.") from error


class _Member(tarfile.TarInfo):
    """A member whose header, where it is damaged or cut off, is an error: tarfile would take it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.count(0) == tarfile.BLOCKSIZE:  # the true end
                raise
            raise tarfile.ReadError(str(error)) from error
