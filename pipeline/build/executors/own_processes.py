"""Controls what worker processes started by this process inherit from it."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["environment_kept", "interrupts_blocked", "main_module_hidden", "quiet_event_loop"]


@contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep processes started in this context from importing the main module, as multiprocessing otherwise makes them.

    They do not need it, and a script without `if __name__ == "__main__"` would run again in each of them.
    """
    main = sys.modules["__main__"]
    before = {name: getattr(main, name, None) for name in ("__file__", "__spec__")}
    vars(main).update(dict.fromkeys(before))
    try:
        yield
    finally:
        vars(main).update(before)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C for threads started in this context, and for the processes that they start at any time.

    A terminal sends it to all processes: each worker would die with a traceback, although the driver stops the
    workers itself. In this process, Ctrl-C and SIGTERM are handled at the end of the context, whichever thread the
    system gives them to: halfway, they would leave what was started.
    """
    resource_tracker.ensure_running()  # multiprocessing's helper process: starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    heard: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # Python lets no other thread handle signals
        both = (signal.SIGINT, signal.SIGTERM)
        handlers = {number: handler for number in both if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if heard:
            signal.raise_signal(heard[0])


@contextmanager
def environment_kept(names: Iterable[str]) -> Iterator[None]:
    """Restore environment variables at the end of the context.

    Dask sets its workers' variables in this process and does not reset them: torch, imported after a build, would
    train on one thread.
    """
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def quiet_event_loop() -> Iterator[None]:
    """Silence logs of errors that end the run with a sentence of its own.

    An interrupt during a call to Dask makes the event loop log another error, and a scheduler that is gone its client
    and the queue of messages to it.
    """
    loggers = [logging.getLogger(name) for name in ("tornado.application", "distributed.client", "distributed.batched")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
