"""`SequenceReader`: the pictures of a sequence by index, as `VideoReader` reads the frames of a video."""

import posixpath
import re
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from tarfile import TarError
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill import ManifestError, VideoError
from facemill.manifests.checks.bounded import LARGEST_SIDE, picture_size
from facemill.manifests.records import Reason
from facemill.manifests.scanning.listing import list_files, locate, open_file
from facemill.manifests.sequences import is_picture, read_archive, split_archive
from facemill.pipeline.decode.frame import Frame, VideoInfo, check_indices
from facemill.pipeline.decode.picture import Observer, picture_of

__all__ = ["SequenceReader"]

LARGEST_PICTURE = 32 << 20
"""Bytes of a picture's file that are read: what is cut off by that does not decode."""
KEPT_IN_MEMORY = 64 << 20
"""Bytes of a sequence out of an archive up to which no temporary file is needed."""


class SequenceReader:
    """One sequence of pictures: those in a folder, on disk or inside a tar archive.

    Frames are the pictures in the order of the numbers in their names (2.png before 10.png), whatever numbers
    are left out: uint8 RGB, all of one size. One that does not decode intact is None at its index. A sequence
    has no clock: all of its times are 0.

    An archive can only be read from its start: it is read through once for all of its sequences that are opened one
    after another (see `_Archive`).

    Args:
        root, path: of the sequence, as in a manifest.

    Raises:
        VideoError: missing_file, where there is no such folder or archive, or no picture in it; unreadable, where
            the archive is damaged or holds what could reach outside, or no picture decodes.
    """

    def __init__(self, root: str, path: str) -> None:
        self.path = locate(root, path)
        self._closed = False
        packed = split_archive(path)
        pictures = _in_folder(self.path) if packed is None else _in_archive(locate(root, packed[0]), packed[1])
        self._pictures = [pictures[name] for name in sorted(pictures, key=_by_number)]
        self.info = self._probe()

    @property
    def times(self) -> NDArray[np.float64]:
        """[frame_count]: a sequence has no clock, so its frames are counted."""
        return np.arange(self.info.frame_count, dtype=np.float64)

    def read(self, indices: Sequence[int], *, observer: Observer | None = None, every: bool = False) -> Iterator[Frame]:
        """One frame per index, in order, decoded as they are asked for; every call starts anew.

        Args:
            indices: ascending, without repetition, each from 0 to `info.frame_count - 1`.
            observer: called for every intact picture that is decoded, before its frame is handed out.
            every: decode all pictures.

        Raises:
            ValueError: at once, for indices that are not as above, or a closed reader.
            VideoError: while iterating; unreadable where the picture changes its size.
        """
        if self._closed:
            raise ValueError(f"The reader of {self.path} is closed: open a new one.")
        chosen = check_indices(indices, self.info.frame_count)
        return self._frames(chosen, observer, range(self.info.frame_count) if every else chosen)

    def close(self) -> None:
        """Let go of what is kept of an archive."""
        self._closed = True
        self._pictures = []

    def __enter__(self) -> "SequenceReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _probe(self) -> VideoInfo:
        """Count the pictures, and decode the first that can be."""
        if not self._pictures:
            raise VideoError(Reason.MISSING_FILE, f"There are no pictures in {self.path}: check the manifest's root.")
        images = map(_decode, self._pictures)
        first = next((image for image in images if image is not None), None)
        if first is None:
            raise VideoError(
                Reason.UNREADABLE, f"No picture of {self.path} decodes: replace them, they are damaged or too large."
            )
        return VideoInfo(
            frame_count=len(self._pictures),
            declared_frames=None,
            fps=0.0,
            width=first.shape[1],
            height=first.shape[0],
            rotation=0,
            variable_rate=False,
            codec="image2",  # FFmpeg's name for pictures in files of their own
            pix_fmt="rgb24",
        )

    def _frames(self, indices: list[int], observer: Observer | None, decoded: Sequence[int]) -> Iterator[Frame]:
        wanted = frozenset(indices)
        for index in decoded:
            frame = self._frame(index)
            if observer is not None and frame.image is not None:
                observer(index, picture_of(frame.image))
            if index in wanted:
                yield frame

    def _frame(self, index: int) -> Frame:
        image = _decode(self._pictures[index])
        if image is not None and image.shape[:2] != (self.info.height, self.info.width):
            raise VideoError(
                Reason.UNREADABLE,
                f"Picture {index} of {self.path} is {image.shape[1]}x{image.shape[0]} among others of "
                f"{self.info.width}x{self.info.height}: keep pictures of one size in a folder.",
            )
        return Frame(index, 0.0, image)


class _Archive:
    """The pictures of all sequences of an archive, as they are packed.

    They are kept in a temporary file without a name: no name in an archive ever reaches the disk.

    Raises:
        VideoError: as `SequenceReader`.
    """

    def __init__(self, place: str) -> None:
        self.folders: dict[str, dict[str, Callable[[], bytes]]] = defaultdict(dict)
        self._kept: IO[bytes] = SpooledTemporaryFile(KEPT_IN_MEMORY)  # noqa: SIM115, closed with its last reader
        weakref.finalize(self, self._kept.close)
        try:
            for path, file in read_archive(place):
                if is_picture(path):
                    picture = file.read(LARGEST_PICTURE)
                    read = partial(self._bytes, self._kept.tell(), len(picture))
                    self.folders[posixpath.dirname(path)][posixpath.basename(path)] = read
                    self._kept.write(picture)
        except ManifestError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            raise VideoError(Reason.MISSING_FILE if missing else Reason.UNREADABLE, str(error)) from error
        except (TarError, EOFError, OSError) as error:  # in the midst of a picture
            raise VideoError(
                Reason.UNREADABLE, f"{place} cannot be read to its end ({error}): download it again."
            ) from error

    def _bytes(self, start: int, size: int) -> bytes:
        self._kept.seek(start)
        return self._kept.read(size)


@lru_cache(maxsize=1)
def _unpacked(place: str, version: object) -> _Archive:
    return _Archive(place)


def _in_archive(place: str, folder: str) -> dict[str, Callable[[], bytes]]:
    """How to read each of the pictures of a folder of an archive, by name; the last archive is kept for the next."""
    version = None
    if "://" not in place:
        with suppress(OSError):
            status = Path(place).stat()
            version = status.st_ino, status.st_size, status.st_mtime_ns
    return _unpacked(place, version).folders.get(folder, {})


def _in_folder(folder: str) -> dict[str, Callable[[], bytes]]:
    """How to read each of the pictures of a folder, by name; none where there is no folder."""
    try:
        names = list_files(folder).paths
    except ManifestError as error:
        raise VideoError(Reason.MISSING_FILE, f"{folder} is no folder: check the manifest's root.") from error
    return {name: partial(_read_file, locate(folder, name)) for name in names if is_picture(name) and "/" not in name}


def _read_file(place: str) -> bytes:
    with open_file(place) as file:
        return file.read(LARGEST_PICTURE)


def _by_number(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts names by the numbers in them; the name itself decides between 1.png and 01.png."""
    parts = re.split(r"([0-9]+)", name)  # texts, with numbers at the odd positions
    parts[1::2] = [number.lstrip("0") for number in parts[1::2]]
    return [(len(part) * (position % 2), part) for position, part in enumerate(parts)], name


def _decode(read: Callable[[], bytes]) -> NDArray[np.uint8] | None:
    """The picture [H, W, 3], RGB; None where it is gone, damaged or too large, as its header tells."""
    try:
        data = read()
        if max(picture_size(data) or [LARGEST_SIDE + 1]) > LARGEST_SIDE:
            return None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):  # no bytes at all, or a header that claims an absurd size
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
