"""Classifies exceptions: caused by the environment or not."""

import errno
import mmap

from facemill.manifests.codes import Reason

__all__ = ["memory_is_short", "reason_of_error"]

_REASONS = {
    errno.ENOENT: Reason.MISSING_FILE,
    errno.ENOTDIR: Reason.MISSING_FILE,
    errno.EACCES: Reason.NO_ACCESS,
    errno.EPERM: Reason.NO_ACCESS,
    errno.ENOMEM: Reason.OUT_OF_MEMORY,
}
ROOM_BYTES = 128 << 20
_NO_MEMORY = ("allocate memory", "bad allocation", "bad_alloc", "Insufficient memory", "can't start new thread")
"""What errors of torch, C++, OpenCV and threads say of it."""


def reason_of_error(error: BaseException) -> Reason | None:
    """The environmental reason for an exception raised while a video was read or processed.

    None if it is not a system error, lack of memory or a missing package: then the cause is the file or
    facemill, and the caller decides which.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return Reason.OUT_OF_MEMORY
    if not isinstance(error, OSError) and any(text in str(error) for text in _NO_MEMORY):
        return Reason.OUT_OF_MEMORY
    if isinstance(error, ImportError):
        return Reason.NOT_FETCHED
    if isinstance(error, OSError) and error.errno is not None:
        return _REASONS.get(error.errno, Reason.SYSTEM_ERROR)
    return None


def memory_is_short() -> bool:
    """Whether the system has little memory left to give to this process: then, data that do not decode may be intact.

    Decoders tell lack of memory as damage, or leave frames out.
    """
    try:
        mmap.mmap(-1, ROOM_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return True
    return False
