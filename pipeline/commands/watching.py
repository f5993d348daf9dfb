"""The command that shows what a build does, and the same for Prometheus while a build runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from facemill import ConfigError, FacemillError
from facemill.pipeline.commands.printing import echo, echo_json, echo_table
from facemill.pipeline.commands.shared import AsJson

__all__ = ["metrics_served", "status"]

MOST_SHOWN = 20  # shards in hand, those without progress for the longest time


def status(
    out: Annotated[str, typer.Argument(help="The --out of a build: a folder or a URL.", metavar="OUT")],
    as_json: AsJson = False,
) -> None:
    """Show what a build does: shards in hand and where, rate, time left, failures. Reads its state only.

    Behind a URL, the shards in hand, and so the rate, are not known.
    """
    from facemill.pipeline.build.status import read_status

    found = read_status(out)
    if as_json:
        echo_json(asdict(found))
        return
    for run in found.runs:
        silent = "" if run.alive else f": no sign of life for {_time(run.silent_s)}, so it was stopped, or is cut off"
        echo(f"Run by process {run.pid} on {run.host}{silent}")
    if not found.runs:
        echo(
            "The dataset is complete." if found.finished else "No run is under way: the same `facemill build` resumes."
        )
    videos = "" if found.videos is None else f"/{found.videos}"
    shards = "" if found.shards is None else f"/{found.shards}"
    speed = "" if found.videos_per_s is None else f", {found.videos_per_s:.2f} videos/s"
    left = "" if found.seconds_left is None else f", {_time(found.seconds_left)} left"
    counts = f"{found.videos_done}{videos} videos, {found.shards_done}{shards} shards, {found.samples} samples"
    echo(f"{counts}{speed}{left}")
    if found.failures:
        echo(f"Failures: {', '.join(f'{reason} {count}' for reason, count in found.failures.items())}")
    if found.in_hand:
        columns = ("shard", "host", "process", "stage", "clip group", "groups", "since", "no step for")
        rows = [
            (
                *(one.shard, one.host, one.pid, one.stage, one.group, f"{one.groups_done}/{one.groups}"),
                *(_time(one.seconds + one.silent_s), _time(one.still_s + one.silent_s)),
            )
            for one in found.in_hand[:MOST_SHOWN]
        ]
        echo_table("In hand", columns, rows)


@contextmanager
def metrics_served(out: Path, host: str, port: int | None) -> Iterator[None]:
    """Within this context, serve `/metrics` for Prometheus; nothing without a port.

    Raises:
        ConfigError: the address cannot be used.
    """
    if port is None:
        yield
        return
    from facemill.pipeline.build.status import exposition, read_status

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            try:
                page = exposition(read_status(out)).encode()
            except (FacemillError, OSError):  # not begun yet
                page = b""
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *ignored: object) -> None:
            """Requests are no news of the build."""

    try:
        server = ThreadingHTTPServer((host, port), Page)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--metrics-port {port} of {host} cannot be used ({error}): choose another one.") from error
    with server:
        echo(f"Metrics: http://{host}:{server.server_address[1]}/metrics", err=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
