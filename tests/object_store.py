"""An S3 server on this machine, whose answers can be disturbed."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fsspec
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Answer = Iterable[bytes]
Fault = Callable[[str, str, Callable[[], bytes], Callable[..., Any]], Answer | None]
"""Called with method, path, a function for the true answer's body, and WSGI's start_response; None leaves it alone."""


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@dataclass
class ObjectStore:
    """The server's application.

    Attributes:
        url: address of the server.
        fault: disturbs answers.
        requests: method and path of each request so far.
    """

    url: str = ""
    fault: Callable[..., Answer | None] | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    app: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        request = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(request)
        told = None if self.fault is None else self.fault(*request, environ, start)
        return self.app(environ, start) if told is None else told

    def refuse(self, start: Callable[..., Any], status: str, code: str, message: str) -> Answer:
        """An S3 error."""
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def cut(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        """The true answer, whose body ends half-way."""
        body = b"".join(self.app(environ, start))
        return [body[: len(body) // 2]]


@contextmanager
def serving() -> Iterator[ObjectStore]:
    store = ObjectStore()
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=_Quiet)
    server.daemon_threads = True
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def files(url: str) -> dict[str, bytes]:
    """Everything below a URL, by name."""
    filesystem, root = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    return {path.removeprefix(root + "/"): filesystem.cat_file(path) for path in filesystem.find(root)}
