"""What processes that are started here inherit of this one, and what they must not."""

import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["deaf_to_interrupts", "environment_kept", "main_module_untold", "quiet_event_loop"]


@contextmanager
def main_module_untold() -> Iterator[None]:
    """Processes started inside do not import this one's main module, as multiprocessing otherwise has them do.

    They need nothing of it, and a script without `if __name__ == "__main__"` would start itself over in each.
    """
    main = sys.modules["__main__"]
    before = {name: getattr(main, name, None) for name in ("__file__", "__spec__")}
    vars(main).update(dict.fromkeys(before))
    try:
        yield
    finally:
        vars(main).update(before)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Threads started inside, and processes started by them at any time, never see Ctrl-C.

    A terminal sends it to all processes alike: workers would die with a traceback each, when it is
    the driver that ends them. For this process, it waits until the end of the context.
    """
    resource_tracker.ensure_running()  # multiprocessing's own helper: its start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def environment_kept(names: Iterable[str]) -> Iterator[None]:
    """Environment variables are afterwards as they were.

    Dask sets those that it starts workers with in this process, and leaves them: torch, imported after a build, would
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
    """An interrupt in the midst of a call to Dask makes its event loop log an error of its own."""
    logger = logging.getLogger("tornado.application")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
