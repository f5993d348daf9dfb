"""`SequenceReader`: reads the images of a sequence by index, as `VideoReader` reads the frames of a video."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import PurePosixPath
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill import ManifestError, VideoError
from facemill.manifests.archives import DAMAGE, Archive, archive_of, open_archive, open_file
from facemill.manifests.blame import reason_of_error
from facemill.manifests.checks.bounded import LARGEST_SIDE, image_size
from facemill.manifests.codes import Reason
from facemill.manifests.scanning.listing import is_image, list_files, locate
from facemill.pipeline.decode.decoded_frame import Observer, wrap_rgb
from facemill.pipeline.decode.frame import Frame, VideoInfo, check_indices
from facemill.pipeline.decode.source import check_memory

__all__ = ["SequenceReader", "archive_at"]

LARGEST_IMAGE = 32 << 20
"""Bytes that are read of an image file: a larger file is truncated, so it does not decode."""


class SequenceReader(AbstractContextManager["SequenceReader"]):
    """One sequence of images: those in a folder, on disk or inside an archive.

    Frames are the images in the order of the numbers in their names (2.png before 10.png; gaps are allowed): uint8
    RGB, all of one size. The image of a frame that does not decode is None. A sequence has no clock: the time of
    all frames is 0, and two sequences are matched by the numbers of their frames.

    Args:
        root, path: of the sequence, as in a manifest.

    Attributes:
        numbers: int64 [frame_count], ascending: the last number in each image's name; the frames' positions if names
            have none, or not in the order of the frames.

    Raises:
        VideoError: missing_file, if the folder or archive does not exist or has no image; unreadable, if the archive
            is damaged or has unsafe members, or no image decodes.
    """

    def __init__(self, root: str, path: str) -> None:
        self.path = locate(root, path)
        self._closed = False
        packed = archive_of(self.path)
        images = _in_folder(self.path) if packed is None else _in_archive(*packed)
        names = sorted(images, key=_by_number)
        self._images = [images[name] for name in names]
        self.numbers = _numbers(names)
        self.info = self._probe()

    @property
    def times(self) -> NDArray[np.float64]:
        """Frame numbers [frame_count] in place of times: a sequence has no clock."""
        return self.numbers.astype(np.float64)

    @property
    def first_bytes(self) -> int:
        """Size of the first image's file, bytes; 0 if it cannot be read."""
        with suppress(*DAMAGE):
            return len(self._images[0]())
        return 0

    @property
    def has_gaps(self) -> bool:
        """Whether images are missing between the first and the last, by their numbers."""
        return bool((np.diff(self.numbers) != 1).any())

    def read(self, indices: Sequence[int], *, observer: Observer | None = None, every: bool = False) -> Iterator[Frame]:
        """Yield one frame per index, in order, decoded on demand.

        Args:
            indices: ascending, without repetition, each from 0 to `info.frame_count - 1`.
            observer: called for every intact image that is decoded, before its frame is yielded.
            every: decode all images.

        Raises:
            ValueError: at the call, for indices that are not as above, or a closed reader.
            VideoError: while iterating; unreadable if an image has another size.
        """
        if self._closed:
            raise ValueError(f"The reader of {self.path} is closed: open a new one.")
        chosen = check_indices(indices, self.info.frame_count)
        return self._frames(chosen, observer, range(self.info.frame_count) if every else chosen)

    def close(self) -> None:
        """Release the images that are kept of an archive."""
        self._closed = True
        self._images = []

    def __exit__(self, *error: object) -> None:
        self.close()

    def _probe(self) -> VideoInfo:
        """Count the images, and decode the first that decodes."""
        if not self._images:
            raise VideoError(Reason.MISSING_FILE, f"There are no images in {self.path}: check the manifest's root.")
        images = map(_decode, self._images)
        first = next((image for image in images if image is not None), None)
        if first is None:
            raise VideoError(
                Reason.UNREADABLE, f"No image of {self.path} decodes: replace them, they are damaged or too large."
            )
        return VideoInfo(
            frame_count=len(self._images),
            declared_frames=None,
            fps=0.0,
            width=first.shape[1],
            height=first.shape[0],
            rotation=0,
            variable_rate=False,
            codec="image2",  # FFmpeg's name for images in files of their own
            pix_fmt="rgb24",
        )

    def _frames(self, indices: list[int], observer: Observer | None, decoded: Sequence[int]) -> Iterator[Frame]:
        wanted = frozenset(indices)
        for index in decoded:
            frame = self._frame(index)
            if observer is not None and frame.image is not None:
                observer(index, wrap_rgb(frame.image))
            if index in wanted:
                yield frame

    def _frame(self, index: int) -> Frame:
        image = _decode(self._images[index])
        if image is not None and image.shape[:2] != (self.info.height, self.info.width):
            raise VideoError(
                Reason.UNREADABLE,
                f"Image {index} of {self.path} is {image.shape[1]}x{image.shape[0]}, and others are "
                f"{self.info.width}x{self.info.height}: keep images of one size in a folder.",
            )
        return Frame(index, 0.0, image)


def archive_at(place: str) -> Archive:
    """Open an archive that holds videos or sequences, or take the one that is still open.

    Raises:
        VideoError: missing_file, unreadable (damaged or unsafe), or another reason why it cannot be opened.
    """
    try:
        return open_archive(place)
    except ManifestError as error:
        cause = error.__cause__
        raise VideoError((reason_of_error(cause) if cause else None) or Reason.UNREADABLE, str(error)) from error


def _in_archive(place: str, folder: str) -> dict[str, Callable[[], bytes]]:
    """A function to read each image of a folder of an archive, by name."""
    archive = archive_at(place)
    names = archive.folders.get(folder, [])
    places = {name: f"{folder}/{name}".lstrip("/") for name in names if is_image(name)}
    return {name: partial(_read, partial(archive.open, place)) for name, place in places.items()}


def _in_folder(folder: str) -> dict[str, Callable[[], bytes]]:
    """A function to read each image of a folder, by name; raises VideoError if there is no such folder."""
    try:
        names = list_files(folder).paths
    except ManifestError as error:
        raise VideoError(Reason.MISSING_FILE, f"{folder} is not a folder: check the manifest's root.") from error
    places = {name: locate(folder, name) for name in names if is_image(name) and "/" not in name}
    return {name: partial(_read, partial(open_file, place)) for name, place in places.items()}


def _read(opened: Callable[[], AbstractContextManager[IO[bytes]]]) -> bytes:
    with opened() as file:
        return file.read(LARGEST_IMAGE)


def _by_number(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key of a name by the numbers in it; the name itself orders 1.png and 01.png."""
    parts = re.split(r"([0-9]+)", name)  # text, with numbers at the odd positions
    parts[1::2] = [number.lstrip("0") for number in parts[1::2]]
    return [(len(part) * (position % 2), part) for position, part in enumerate(parts)], name


def _numbers(names: Sequence[str]) -> NDArray[np.int64]:
    """`SequenceReader.numbers` of images in the order of their frames."""
    found = [re.findall(r"[0-9]+", PurePosixPath(name).stem)[-1:] for name in names]
    numbers = np.array([int(number[0][-18:]) if number else 0 for number in found], np.int64)
    return numbers if (np.diff(numbers, prepend=-1) > 0).all() and all(found) else np.arange(len(names))


def _decode(read: Callable[[], bytes]) -> NDArray[np.uint8] | None:
    """Decode an image to RGB [H, W, 3]; None if it is missing, damaged, or too large by its header."""
    image: NDArray[np.uint8] | None = None
    with suppress(*DAMAGE, cv2.error):  # OpenCV's: no memory for the pixels
        data = read()
        if max(image_size(data) or [LARGEST_SIDE + 1]) <= LARGEST_SIDE:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        check_memory()
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
