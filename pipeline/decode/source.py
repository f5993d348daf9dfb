"""Opening a file with FFmpeg and reading its packets and frames, with classified errors and bounded waits."""

import errno
import itertools
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel

from facemill import VideoError
from facemill.manifests.blame import memory_is_short, reason_of_error
from facemill.manifests.codes import Reason
from facemill.pipeline.decode.nal import length_size, nal_units

__all__ = ["Deadline", "blamed_on", "check_memory", "check_readable", "decode", "demux", "is_conforming", "open_video"]

# Titles need not be UTF-8; PyAV 19 handles that itself.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
# Codecs for which FFmpeg returns damaged frames without a flag, unless "explode" makes it reject them.
_EXPLODE = frozenset({"hevc", "mjpeg", "mpeg4", "prores", "vp8", "vp9"})
# Codecs whose packets hold no long run of zeros, except at the end of a NAL unit (which never has three zeros in a row
# before). Such a run was never written, or was lost.
_NO_ZEROS = frozenset({"vp8", "libvpx", "vp9", "libvpx-vp9", "h264", "hevc"})
_ZEROS = bytes(32)
# With this option, dav1d also checks the padding after a frame's data, which damage changes.
_CONFORMING = {"strict": "strict"}

_BLOCK_BYTES = 4 << 20
MOST_PIXELS = 128 << 20
"""Frames larger than this, well above 12K, do not decode: FFmpeg's own limit lets a file of 3 MB take gigabytes."""
LARGE_PIXELS = 20 << 20
"""Frames larger than this are decoded by one thread, since each thread holds frames in memory."""


class Deadline:
    """Time limit for the next packet or frame.

    Args:
        path: named in the error.
        timeout_s: seconds from now, or from the last `restart`.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self.restart()

    def restart(self) -> None:
        self._ends = time.monotonic() + self.timeout_s

    def check(self) -> None:
        if time.monotonic() > self._ends:
            raise self.error()

    def error(self) -> VideoError:
        return VideoError(
            Reason.DECODE_TIMEOUT,
            f"No frame of {self.path} came within {self.timeout_s:g} s: raise decode.timeout_s if the disk is slow.",
        )


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Attribute any exception inside to this file alone, not to the videos that are read together with it.

    Raises:
        VideoError: unchanged; any other exception becomes one, as unreadable or as a failure of the system.
    """
    try:
        yield
    except VideoError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


@contextmanager
def open_video(
    path: Path,
    deadline: Deadline,
    threads: int,
    *,
    strict: bool = False,
    conforming: bool = False,
    accel: HWAccel | None = None,
) -> Iterator[tuple[Any, Any]]:
    """The file's `av` container and its video stream, closed at the end.

    Args:
        strict: make FFmpeg reject every frame with an error. With several threads, the flag of a concealed error may
            be set only after the frame is returned, but a rejection is always in time.
        conforming: AV1: treat violations of the standard as damage, too.
        accel: hardware that decodes; it raises whatever error PyAV does.

    Raises:
        VideoError: missing_file, unreadable, no_video_stream or decode_timeout.
    """
    _check_file(path)
    # If PyAV's log is on (importing torchvision 0.23 turns it on), FFmpeg's threads call Python; closing a damaged file
    # would wait for them while holding the lock that they need.
    av.logging.set_level(None)
    try:
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        container = av.open(f"file:{path}", timeout=deadline.timeout_s, hwaccel=accel, **_LENIENT)
    except av.error.ExitError:
        raise deadline.error() from None
    except (av.error.FFmpegError, OSError, ValueError, IndexError, MemoryError) as error:
        raise _unreadable(path, error) from None
    with container:
        stream = _video_stream(path, container)
        if _area(stream) > MOST_PIXELS:  # the decoder would refuse them: PyAV 19 crashes on one that does not open
            size = f"{_area(stream) // 1_000_000} million pixels"
            raise VideoError(Reason.UNREADABLE, f"{path} has frames of {size}: it is damaged or too large.")
        # Each thread holds one or two frames.
        stream.codec_context.thread_count = threads if _area(stream) <= LARGE_PIXELS else 1
        options = {"err_detect": "explode"} if strict or stream.codec_context.name in _EXPLODE else {}
        if conforming and stream.codec_context.name == "libdav1d":
            options = _CONFORMING
        stream.codec_context.options = {**options, "max_pixels": str(MOST_PIXELS)}
        # With slice threads, the set of damaged frames that FFmpeg flags varies from run to run.
        stream.codec_context.thread_type = "FRAME"
        yield container, stream


def demux(container: Any, stream: Any, deadline: Deadline) -> Iterator[Any]:
    """Yield the stream's packets, then None; a read error ends the file, as in FFmpeg's own tools.

    The deadline restarts with every packet: it limits the wait for one packet, not the length of the file.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.ExitError:
            raise deadline.error() from None
        except (av.error.FFmpegError, IndexError, ValueError):  # PyAV fails on streams that begin late in a file
            check_memory()
            break
        deadline.check()
        if packet is None:
            break
        if packet.size:
            yield packet
        deadline.restart()
    yield None


def decode(context: Any, packet: Any) -> tuple[list[Any], bool]:
    """Send `packet` to a codec context (None flushes it); returns the frames that come out, and whether it succeeded.

    A packet that is known to be damaged counts as a failure, whatever comes out.

    With several threads, an error also loses frames of other packets; with one thread, only that packet's frames.

    Raises:
        MemoryError: it failed, and memory is short. A damaged packet may ask for more than any system has.
    """
    damaged = packet is not None and (packet.is_corrupt or _is_zeroed(context, bytes(packet)))
    try:
        return context.decode(packet), not damaged
    except (av.error.FFmpegError, OSError, ValueError, MemoryError):
        check_memory()
        return [], False


def check_memory() -> None:
    """Called where a file seems to be damaged.

    Raises:
        MemoryError: that may be for lack of memory.
    """
    if memory_is_short():
        raise MemoryError


def check_readable(path: Path, deadline: Deadline) -> None:
    """Called where a file seems to end early, as FFmpeg tells of a disk's read error, too.

    Raises:
        VideoError: the disk or the network fails, and not the file.
    """
    try:
        with path.open("rb", buffering=0) as file:
            while file.read(_BLOCK_BYTES):
                deadline.restart()
    except OSError as error:
        raise _no_access(path, error) from error


def is_conforming(path: Path, deadline: Deadline) -> bool:
    """Whether AV1 data that violates the standard is damaged; false for the output of some encoders.

    Most of the first packets of such a file violate the standard, and decode nevertheless.

    Raises:
        VideoError: as `open_video`.
    """
    conform = _first_decode(path, deadline, conforming=True)
    return 2 * sum(conform) > len(conform) or not all(_first_decode(path, deadline, conforming=False))


def _first_decode(path: Path, deadline: Deadline, *, conforming: bool) -> list[bool]:
    """Whether each of the first packets decodes."""
    with open_video(path, deadline, threads=1, conforming=conforming) as (container, stream):
        packets = itertools.islice(demux(container, stream, deadline), 8)
        return [decode(stream.codec_context, packet)[1] for packet in packets]


def _is_zeroed(context: Any, packet: bytes) -> bool:
    if context.name == "libdav1d":  # AV1 allows other units to be filled with zeros, but they do not end in them
        return packet.endswith(_ZEROS)
    if context.name not in _NO_ZEROS or _ZEROS not in packet:
        return False
    if context.name in ("h264", "hevc"):
        size_bytes = length_size(context.extradata, at=4 if context.name == "h264" else 21)
        return any(packet.find(_ZEROS, start, end) >= 0 for start, end in nal_units(packet, size_bytes))
    return True


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError(Reason.MISSING_FILE, f"There is no file {path}: check the manifest's root.") from None
    except OSError as error:
        raise _no_access(path, error) from None
    # Opening a named pipe would block forever.
    if not stat.S_ISREG(mode):
        raise VideoError(Reason.UNREADABLE, f"{path} is not a regular file: give the path of a video.")
    try:  # FFmpeg's errors do not distinguish faults of the system from faults of the file
        path.open("rb").close()
    except OSError as error:
        raise _no_access(path, error) from None


def _no_access(path: Path, error: OSError) -> VideoError:
    reason = reason_of_error(error) or Reason.UNREADABLE
    return VideoError(reason, f"{path} cannot be read ({error.strerror}): the same command tries it again.")


def _unreadable(path: Path, error: Exception) -> VideoError:
    # FFmpeg also tells damage as a lack of memory.
    is_short = reason_of_error(error) is Reason.OUT_OF_MEMORY and not isinstance(error, av.error.FFmpegError)
    if is_short or memory_is_short():
        return VideoError(
            Reason.OUT_OF_MEMORY, f"Reading {path} took more memory than is available: it is tried again."
        )
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.EIO):
        return _no_access(path, error)  # type: ignore[arg-type]
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, AttributeError | NameError | TypeError):  # a bug in facemill, or another version of PyAV
        return VideoError(Reason.INTERNAL_ERROR, f"facemill itself failed to read {path} ({why}): please report it.")
    return VideoError(Reason.UNREADABLE, f"FFmpeg cannot read {path} ({why}): convert or replace the file.")


def _video_stream(path: Path, container: Any) -> Any:
    """The video stream with the largest frames; ties are resolved as FFmpeg does, and cover images are ignored."""
    moving = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
    if not moving:
        raise VideoError(Reason.NO_VIDEO_STREAM, f"{path} has no video stream: leave it out of the manifest.")
    best = container.streams.best("video")
    stream = max(moving, key=lambda stream: (_area(stream), stream is best))
    if stream.codec_context is None:
        raise VideoError(Reason.UNREADABLE, f"FFmpeg has no decoder for the video stream of {path}: convert it.")
    return stream


def _area(stream: Any) -> int:
    return 0 if stream.codec_context is None else stream.codec_context.width * stream.codec_context.height
