"""Classifies exceptions: caused by the environment or not."""

import errno

from facemill.manifests.codes import Reason

__all__ = ["reason_of_error"]

_REASONS = {
    errno.ENOENT: Reason.MISSING_FILE,
    errno.ENOTDIR: Reason.MISSING_FILE,
    errno.EACCES: Reason.NO_ACCESS,
    errno.EPERM: Reason.NO_ACCESS,
    errno.ENOMEM: Reason.OUT_OF_MEMORY,
}


def reason_of_error(error: BaseException) -> Reason | None:
    """The environmental reason for an exception raised while a video was read or processed.

    None if it is not a system error, lack of memory or a missing package: then the cause is the file or
    facemill, and the caller decides which.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return Reason.OUT_OF_MEMORY
    if isinstance(error, ImportError):
        return Reason.NOT_FETCHED
    if isinstance(error, OSError) and error.errno is not None:
        return _REASONS.get(error.errno, Reason.SYSTEM_ERROR)
    return None
