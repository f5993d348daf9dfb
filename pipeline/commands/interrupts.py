"""Ending on Ctrl-C and SIGTERM: exit code 4 and the line that says how to go on, whatever else breaks on the way."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = ["Interrupts", "interrupts"]


class Interrupts:
    """SIGTERM is heard like Ctrl-C from `listen` on.

    Other processes that the signal ends as well (readers of training data, workers) may bring down the main thread by
    errors of their own, sooner or later than by KeyboardInterrupt: `heard` tells why, all the same.

    Attributes:
        advice: the line of the command that runs.
    """

    def __init__(self) -> None:
        self.heard = False
        self._process = os.getpid()
        self.advice = "Interrupted: what is committed is safe, run the same command again to go on."

    def listen(self) -> None:
        """Listen to SIGTERM and Ctrl-C in this process; processes that it starts by fork are left as they were."""
        self._process = os.getpid()
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background job stays one
            signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:
        if os.getpid() != self._process:  # a fork that has not settled yet, such as a reader of data: it just ends
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.heard = True
        # Readers of data end too, and torch would raise an error wherever this process then is, its end included.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.unraisablehook = lambda ignored: None  # what is left half-made complains when it is deleted
        raise KeyboardInterrupt


interrupts = Interrupts()
"""Those of this process, which runs one command."""
