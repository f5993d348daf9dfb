"""Ctrl-C and SIGTERM: exit with code 4 and say how to continue, even if other errors occur during shutdown."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = ["Interrupts", "interrupts"]


class Interrupts:
    """Handles SIGTERM like Ctrl-C, once `listen` has been called.

    The signal also ends other processes (data loader workers, build workers), whose errors may reach the main thread
    before or after the KeyboardInterrupt: `heard` records that a signal was the cause.

    Attributes:
        advice: what to print for the running command.
    """

    def __init__(self) -> None:
        self.heard = False
        self._process = os.getpid()
        self.advice = "Interrupted: finished shards are kept, run the same command again to resume."

    def listen(self) -> None:
        """Handle SIGTERM and Ctrl-C in this process; forked child processes keep the default behaviour."""
        self._process = os.getpid()
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored in a shell's background jobs
            signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:
        if os.getpid() != self._process:  # a forked child, such as a data loader worker: terminate it as usual
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.heard = True
        # Data loader workers die too; torch's SIGCHLD handler would then raise at any point, even during shutdown.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.unraisablehook = lambda ignored: None  # partly constructed objects raise in __del__
        raise KeyboardInterrupt


interrupts = Interrupts()
"""The handler of this process, which runs one command."""
