"""An S3 server on this machine, whose answers can be disturbed."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fsspec

Answer = Iterable[bytes]
Fault = Callable[[str, str, dict[str, Any], Callable[..., Any]], Answer | None]
"""Called with method, path, and WSGI's environment and start_response; gives another answer, or None."""


@dataclass
class ObjectStore:
    """The server's application.

    Attributes:
        app: answers undisturbed.
        url: address of the server.
        fault: disturbs answers.
        requests: method and path of each request so far.
    """

    app: Any
    url: str = ""
    fault: Fault | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Answer:
        request = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(request)
        told = None if self.fault is None else self.fault(*request, environ, start)
        return self.app(environ, start) if told is None else told

    @staticmethod
    def refuse(start: Callable[..., Any], status: str, code: str, message: str) -> Answer:
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
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            pass

    store = ObjectStore(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=Quiet)
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
