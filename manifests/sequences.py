"""Image sequences that represent a video: a folder of frames, on disk or inside a tar archive.

The path of a sequence is that of its folder. Inside an archive, it continues after the archive's name as
if the archive were a folder: `real_train/1.tar.gz/1/real/0` is the folder `1/real/0` of
`real_train/1.tar.gz`. `split_archive` separates the two.

If they are full frames (`VideoEntry.content`), a build treats them like the frames of a video: faces are detected,
tracked, cropped, and compared with the original. There is no clock: in place of a time, a frame has the last number in
its name, and a fake's frame 10 is compared with its original's frame 10, whatever images lie between. Fakes that are
forged at times only are labelled as a whole.

If they are face crops already, face detection is skipped: each image is one sample, uncropped and resized to
`crop.size`; `crop.scale`, `crop.align`, `crop.around` and `crop.steady` do not apply.
"""

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Self

from facemill import ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import open_file

__all__ = ["holds_crops", "is_archive", "is_image", "is_sequence", "read_archive", "split_archive"]

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_PICTURES = (".png", ".jpg", ".jpeg")


def is_archive(path: str) -> bool:
    """Whether the name is that of a tar archive."""
    return path.lower().endswith(_ARCHIVES)


def is_image(path: str) -> bool:
    """Whether the name is that of an image file; hidden files, such as `._1.png` of macOS, are not."""
    return path.lower().endswith(_PICTURES) and not PurePosixPath(path).name.startswith(".")


def is_sequence(path: str) -> bool:
    """Whether a video's path is that of an image sequence: a folder (without suffix), or inside an archive."""
    return split_archive(path) is not None or not PurePosixPath(path).suffix


def holds_crops(entry: VideoEntry) -> bool:
    """Whether images are face crops already. Manifests from before `content` have sequences of crops only."""
    return entry.content == "crops" or (entry.content is None and is_sequence(entry.path))


def split_archive(path: str) -> tuple[str, str] | None:
    """Paths of the archive and of the folder inside it; None for a path outside archives."""
    parts = path.split("/")
    for end, part in enumerate(parts[:-1], start=1):
        if is_archive(part):
            return "/".join(parts[:end]), "/".join(parts[end:])
    return None


def read_archive(place: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Stream the paths and files of an archive, in its order; read each file before requesting the next.

    Args:
        place: local path or fsspec URL; any compression that tarfile supports, or none.

    Raises:
        ManifestError: it is damaged, not an archive, or has an unsafe member: an absolute path, `..`,
            a link or a device.
    """
    try:
        with open_file(place) as packed, tarfile.open(fileobj=packed, mode="r|*", tarinfo=_Member) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise ManifestError(f"{place} has the unsafe member {member.name!r}: do not unpack it.")
                if (file := archive.extractfile(member)) is not None:
                    yield str(path), file
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ManifestError(f"{place} is damaged or not an archive ({error}): download it again.") from error


class _Member(tarfile.TarInfo):
    """Raises an error for a damaged or truncated header, which tarfile would treat as the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.count(0) == tarfile.BLOCKSIZE:  # a block of zeros is the real end
                raise
            raise tarfile.ReadError(str(error)) from error
