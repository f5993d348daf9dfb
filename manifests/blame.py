"""Whose fault an exception is: the environment's, or not."""

import errno

from facemill.manifests.records import Reason

__all__ = ["reason_of_error"]

_REASONS = {
    errno.ENOENT: Reason.MISSING_FILE,
    errno.ENOTDIR: Reason.MISSING_FILE,
    errno.EACCES: Reason.NO_ACCESS,
    errno.EPERM: Reason.NO_ACCESS,
    errno.ENOMEM: Reason.OUT_OF_MEMORY,
}


def reason_of_error(error: BaseException) -> Reason | None:
    """The environment's reason behind an exception that came while a video was read or processed.

    None where it is neither the system's, nor memory, nor a missing package: then it is the file's fault or
    facemill's, as the caller knows.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without torch
        return Reason.OUT_OF_MEMORY
    if isinstance(error, ImportError):
        return Reason.NOT_FETCHED
    if isinstance(error, OSError) and error.errno is not None:
        return _REASONS.get(error.errno, Reason.SYSTEM_ERROR)
    return None
