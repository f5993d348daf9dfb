"""Running many commands quickly: each in a fork of a process that has imported everything already."""

import functools
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tests.integration.command import Ended

__all__ = ["HUNG", "forked", "interrupt_commands", "make_commands_fail"]

HUNG = -100
"""Exit code told of a command that did not end in time."""
_forks: Any = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        __name__,
        *(
            f"facemill.pipeline.{name}"
            for name in ("build.shard", "build.groups", "demo.run", "experiments", "figures.explain", "score", "train")
        ),
        *("facemill.pipeline.figures.report", "facemill.manifests.export", "facemill.manifests.checks.verify"),
        *("facemill.pipeline.commands.cli", "facemill.manifests.shards.summary", "rich.table", "rich.progress"),
    ]
)


def _run(
    args: list[str],
    folder: Path,
    user: int | None,
    site: Path | None,
    first: Callable[[], None] | None,
    said: Path,
) -> None:
    from facemill.pipeline.commands import cli

    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    if site is not None:
        sys.path.insert(0, str(site))
    if user is not None:
        os.seteuid(user)
    if first is not None:
        first()
    here = args[:1] == ["build"] and "--executor" not in args
    sys.argv = ["facemill", *args, *(["--executor", "sequential"] if here else [])]
    cli.main()


def forked(
    *args: object,
    folder: Path,
    limit_s: float = 60,
    user: int | None = None,
    site: Path | None = None,
    first: Callable[[], None] | None = None,
) -> Ended:
    """Run a command in `folder`; `build` does its work without other processes, unless an executor is named.

    Args:
        limit_s: it is killed after that time, and ends with `HUNG`.
        user: id of the user to run as, where this one is root.
        site: a folder of further packages, as on `PYTHONPATH`.
        first: called in that process before the command; a function of a module.
    """
    with tempfile.TemporaryDirectory() as said:
        process = _forks.Process(target=_run, args=([*map(str, args)], folder, user, site, first, Path(said)))
        process.start()
        process.join(limit_s)
        hung = process.is_alive()
        process.kill()
        process.join()
        out, err = ((Path(said) / name).read_text(errors="replace") for name in ("out", "err"))
    return Ended(HUNG if hung else process.exitcode, out, err)


def make_commands_fail() -> None:
    """For `first`: every command raises once its options are read."""

    def act() -> NoReturn:
        raise RuntimeError("broken")

    _instead(act)


def interrupt_commands() -> None:
    """For `first`: every command gets a signal once its options are read."""
    _instead(lambda: os.kill(os.getpid(), signal.SIGTERM))


def _instead(act: Callable[[], None]) -> None:
    from facemill.pipeline.commands import cli, training

    for command in (*cli.app.registered_commands, *training.experiments.registered_commands):
        assert command.callback is not None
        command.callback = functools.wraps(command.callback)(lambda *args, **options: act())
