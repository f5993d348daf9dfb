"""A log file in a command's output folder: its messages with timestamps."""

import logging
import shlex
import sys
from contextlib import suppress
from pathlib import Path

from facemill import __version__

__all__ = ["keep_log"]


class _LogFile(logging.FileHandler):
    """Appends records to a file, but holds them until `mark` exists, so that a refused command writes nothing."""

    def __init__(self, path: Path, mark: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self._path, self._mark = path, mark
        self._held: list[logging.LogRecord] = []
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._held.append(record)
        with suppress(OSError):  # the command itself reports an unwritable folder
            if self._mark.is_file() and (self._path.is_file() or not self._path.exists()):  # opening a pipe would block
                for held in self._held:
                    super().emit(held)
                self._held.clear()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the library's name
        """Ignore write errors: a full disk would otherwise print a traceback for each line."""


def keep_log(path: Path, *, mark: Path) -> None:
    """Log the command line and all later messages to `path`, once `mark` exists."""
    logger = logging.getLogger("facemill")
    logger.setLevel(logging.INFO)
    for earlier in [handler for handler in logger.handlers if isinstance(handler, _LogFile)]:
        logger.removeHandler(earlier)
        earlier.close()
    logger.addHandler(_LogFile(path, mark))
    logger.info("facemill %s: %s", __version__, shlex.join(["facemill", *sys.argv[1:]]))
