"""Reading frames with decord, which many scripts in this field use.

decord 0.6 is unmaintained: its random access and its `skip_frames` return wrong frames, it can hang at the end of a
file, and it decodes 10-bit video to wrong colours. So files are read from the start, frame by frame, in a thread that
is abandoned if it hangs, and files that decord is known to decode wrongly are refused.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill import VideoError
from facemill.manifests.codes import Reason
from facemill.pipeline.decode.decoded_frame import Observer, wrap_rgb
from facemill.pipeline.decode.frame import Frame
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.source import Deadline

__all__ = ["check_decord_fits", "read_with_decord"]

# Layouts for which its pixels were seen to equal PyAV's.
_EXACT_LAYOUTS = frozenset({"yuv420p", "yuv444p", "gray"})
# File formats for which its frame indices were seen to be right; in MPEG-TS it repeats one frame in place of another.
_EXACT_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})


def check_decord_fits(path: Path, probed: Probe, deadline: Deadline, threads: int) -> None:
    """Open the file once with decord, to check that it can be used.

    Raises:
        VideoError: unreadable, if decord fails on the file or is known to return other frames than PyAV;
            decode_timeout.
    """
    if probed.info.pix_fmt not in _EXACT_LAYOUTS:
        raise _refused(path, f"it returns wrong colours for {probed.info.pix_fmt}")
    info = probed.info
    if (info.width, info.height) not in ((info.coded_width, info.coded_height), (info.coded_height, info.coded_width)):
        raise _refused(path, "it ignores the pixel aspect ratio")
    if probed.orientation.mirrored or probed.container not in _EXACT_CONTAINERS or not probed.timeline.by_pts:
        raise _refused(path, "it returns wrong frames for such files")
    with _Abandonable(_images(path, threads, ()), path, deadline) as images:
        count = images.next()
    if count != probed.info.frame_count:
        raise _refused(path, f"it finds {count} frames of {probed.info.frame_count}")


def read_with_decord(
    path: Path,
    probed: Probe,
    indices: Sequence[int],
    deadline: Deadline,
    threads: int,
    *,
    observer: Observer | None = None,
    every: bool = False,
) -> Iterator[Frame]:
    """Read frames from the start to the last of `indices`; if `every`, to the end of the file.

    Raises:
        VideoError: unreadable, if decord fails on a frame; decode_timeout.
    """
    wanted = frozenset(indices)
    end = probed.info.frame_count if every else max(indices, default=-1) + 1
    shown = range(end) if observer is not None else indices
    with _Abandonable(_images(path, threads, shown), path, deadline) as images:
        images.next()
        for index in shown:
            image = images.next()
            if observer is not None:
                observer(index, wrap_rgb(image))
            if index in wanted:
                yield Frame(index, probed.timeline.seconds(index, probed.info.fps), image)


def _images(path: Path, threads: int, indices: Sequence[int]) -> Iterator[int | NDArray[np.uint8]]:
    """Yield the number of frames that decord finds, then the images of `indices`."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=threads)
    yield len(reader)
    wanted = frozenset(indices)
    for index in range(max(indices, default=-1) + 1):
        image = reader.next()
        if index in wanted:
            yield image.asnumpy()


class _Abandonable(AbstractContextManager["_Abandonable"]):
    """Runs a generator in a daemon thread, one item at a time, and abandons the thread if it hangs."""

    def __init__(self, items: Iterator[Any], path: Path, deadline: Deadline) -> None:
        self._path = path
        self._deadline = deadline
        self._requests: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._serve, args=(items,), name=f"decord {path.name}", daemon=True).start()

    def _serve(self, items: Iterator[Any]) -> None:
        # The reader is created and destroyed in this thread only: destroying it may hang as well.
        while self._requests.get():
            try:
                self._answers.put(next(items))
            except Exception as error:
                self._answers.put(error)

    def next(self) -> Any:
        self._requests.put(True)
        try:
            answer = self._answers.get(timeout=self._deadline.timeout_s)
        except Empty:
            raise self._deadline.error() from None
        if isinstance(answer, Exception):
            raise _refused(self._path, f"it fails with {type(answer).__name__}")
        return answer

    def __exit__(self, *_: object) -> None:
        self._requests.put(False)


def _refused(path: Path, why: str) -> VideoError:
    return VideoError(Reason.UNREADABLE, f"decord cannot be used on {path} ({why}): set decode.backend to pyav.")
