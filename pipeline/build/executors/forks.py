"""Worker processes of this machine, forked from one process that has imported what they need.

It is a fork server of multiprocessing's, but one for each build. One that the user's process has already, and its
workers, would hear Ctrl-C and have other environment variables, and is its parent's if that process was forked itself.
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import context, forkserver, popen_forkserver, popen_spawn_posix
from types import FunctionType
from typing import Any, ClassVar

from facemill.pipeline.build.executors.own_processes import environment_kept, interrupts_blocked

__all__ = ["METHOD", "forks"]

METHOD = "facemill"
"""Name of this way to start processes, for `multiprocessing.get_context`."""
NEEDED = ["facemill.pipeline.build.executors.imported"]


class _Server(forkserver.ForkServer):
    read_signed = staticmethod(forkserver.read_signed)


class _Popen(popen_forkserver.Popen):
    def _launch(self, process: Any) -> None:
        # The same code, but for the server, which is a global of that module.
        names = {**vars(popen_forkserver), "forkserver": _Process.servers[-1]}
        FunctionType(vars(popen_forkserver.Popen)["_launch"].__code__, names)(self, process)


class _Process(context.ForkServerProcess):
    servers: ClassVar[list[_Server]] = []

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802 - multiprocessing's name
        with suppress(OSError, EOFError, IndexError):  # no server, as where its socket was deleted
            return _Popen(process)
        return popen_spawn_posix.Popen(process)


class _Context(context.ForkServerContext):
    Process = _Process


@contextmanager
def forks(environment: Mapping[str, Any]) -> Iterator[None]:
    """Processes started by `METHOD` in this context are forked, or spawned where that is not possible.

    Args:
        environment: variables of these processes that are set before the imports, unless they are set already.
    """
    vars(context)["_concrete_contexts"][METHOD] = _Context()
    server = _Server()
    server.set_forkserver_preload(NEEDED)
    try:
        if sys.platform == "linux":  # on macOS, a fork may crash in the system's libraries
            with environment_kept(environment), interrupts_blocked(), suppress(OSError):
                os.environ.update({name: os.environ.get(name, str(value)) for name, value in environment.items()})
                server.ensure_running()
                _Process.servers.append(server)
        yield
    finally:
        with suppress(ValueError):
            _Process.servers.remove(server)
        _end(server)


def _end(server: Any) -> None:
    """Kill it: asked to end, it would wait for all of its children."""
    with suppress(OSError, TypeError):  # it does not run, or somebody else has waited for its end
        if os.waitpid(server._forkserver_pid, os.WNOHANG) == (0, 0):
            os.kill(server._forkserver_pid, signal.SIGKILL)
        server._stop()
