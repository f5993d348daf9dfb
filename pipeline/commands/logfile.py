"""A log beside what a command makes: what it said, and when."""

import logging
import shlex
import sys
from contextlib import suppress
from pathlib import Path

from facemill import __version__

__all__ = ["keep_log"]


class _LogFile(logging.FileHandler):
    """Appends records to a file. Holds them until `mark` exists: what was refused leaves the folder as it was."""

    def __init__(self, path: Path, mark: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self._mark = mark
        self._held: list[logging.LogRecord] = []
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._held.append(record)
        with suppress(OSError):  # a place that cannot be written to is the command's to tell
            if self._mark.is_file():
                for held in self._held:
                    super().emit(held)
                self._held.clear()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the library's name
        """A full disk costs the log, and no traceback for each line of it."""


def keep_log(path: Path, *, mark: Path) -> None:
    """Keep what is logged from now on, the command line first, in `path`, from when `mark` exists."""
    logger = logging.getLogger("facemill")
    logger.setLevel(logging.INFO)
    for earlier in [handler for handler in logger.handlers if isinstance(handler, _LogFile)]:
        logger.removeHandler(earlier)
        earlier.close()
    logger.addHandler(_LogFile(path, mark))
    logger.info("facemill %s: %s", __version__, shlex.join(["facemill", *sys.argv[1:]]))
