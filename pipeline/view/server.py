"""The server of the gallery: this machine only, behind a token, reading the dataset and writing nothing."""

import asyncio
import hmac
import json
import math
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from facemill import FacemillError
from facemill.manifests.printable import printable
from facemill.pipeline.figures.page import page_part
from facemill.pipeline.view.catalogue import DETECTOR_SCORE, Catalogue
from facemill.pipeline.view.images import ShardImages, SourceFrames
from facemill.pipeline.view.timeline import describe_video, frame_size

__all__ = ["FEWEST_VIDEOS", "PAGE_ROWS", "Viewed", "make_app", "serve"]

PAGE_ROWS = 60
"""Crops of a page of the gallery's list."""
FEWEST_VIDEOS = 60
"""Videos with the fewest samples that the gallery names."""
_HOSTS = {"127.0.0.1", "localhost"}
_POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src {}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "facemill",
    "X-Content-Type-Options": "nosniff",
}
_PAGES = {"": "gallery.html", "video": "video.html"}
_FILES = ("gallery.js", "video.js", "shared.js", "view.css", "icon.svg", "page.css", "plotly.js")
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Viewed:
    """What is served: a dataset, its images, and the videos that it was built from."""

    def __init__(self, catalogue: Catalogue, sources: SourceFrames) -> None:
        self.catalogue, self.sources = catalogue, sources
        self.images = ShardImages(catalogue.root, catalogue.info)


def make_app(viewed: Viewed, token: str) -> Application:
    """The application; all its addresses begin with the token."""
    pool = ThreadPoolExecutor(4, "view")
    given: dict[str, Any] = {"viewed": viewed, "token": token, "pool": pool}
    place = r"/([^/]*)/"
    handlers = [
        (rf"{place}({'|'.join(map(re.escape, (*_PAGES, *_FILES)))})", _File, given),
        (rf"{place}api/(about|fewest|list|sample|video)", _Api, given),
        (rf"{place}(image|mask)/(\d{{1,12}})", _Image, given),
        (rf"{place}frame", _Frame, given),
    ]
    return Application(
        handlers,
        default_handler_class=_Handler,
        default_handler_args=given,
        log_function=lambda handler: None,  # an address has the token, and may have terminal escapes
        last_request=time.monotonic(),
    )


async def serve(
    viewed: Viewed, *, port: int = 0, idle_s: float | None = None, ready: Callable[[str], None] = print
) -> None:
    """Serve until cancelled, or until nothing has been requested for `idle_s` seconds.

    Args:
        port: 0 for a free one.
        ready: called with the address to open.

    Raises:
        OSError: the port is taken.
    """
    token = secrets.token_urlsafe(24)
    app = make_app(viewed, token)
    server = HTTPServer(app, max_body_size=1 << 16, max_header_size=1 << 16, idle_connection_timeout=60)
    sockets = bind_sockets(port, "127.0.0.1", socket.AF_INET)
    server.add_sockets(sockets)
    ready(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/{token}/")
    try:
        while idle_s is None or time.monotonic() - app.settings["last_request"] < idle_s:
            await asyncio.sleep(min(1.0, idle_s or 1.0))
    finally:
        server.stop()
        await server.close_all_connections()


class _Handler(RequestHandler):
    """Refuses requests from other hosts, origins and sites, and those without the token."""

    def initialize(self, viewed: Viewed, token: str, pool: ThreadPoolExecutor) -> None:
        self.viewed, self.token, self.pool = viewed, token, pool

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", _POLICY.format("'self'"))

    def prepare(self) -> Awaitable[None] | None:
        headers = self.request.headers
        host = headers.get("Host", "")
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            name = None
        if name not in _HOSTS:  # another name that resolves to this machine: DNS rebinding
            raise HTTPError(403)
        if headers.get("Origin", f"http://{host}") != f"http://{host}":
            raise HTTPError(403)
        # A link from elsewhere may open a page, but no other site's page may load what is served here.
        navigates = headers.get("Sec-Fetch-Mode") == "navigate"
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not navigates:
            raise HTTPError(403)
        given = self.path_args[0] if self.path_args else ""
        if not hmac.compare_digest((given or "").encode(), self.token.encode()):
            raise HTTPError(403)
        self.application.settings["last_request"] = time.monotonic()
        return None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        words = {
            400: "This address lacks an argument.",
            403: "Open the address that facemill view has printed.",
            404: "There is nothing here.",
        }
        self.send_json({"error": words.get(status_code, "The server failed: see its terminal.")})

    def send_json(self, value: Any) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(_plain(value)))

    async def send_image(self, call: Callable[[], tuple[bytes, str]]) -> None:
        """Answer with an image and its media type, as a call in a thread gives them."""
        found = await self.work(call)
        if found is not None:
            content, kind = found
            self.set_header("Content-Type", kind)
            self.set_header("Cache-Control", "private, max-age=600")
            self.finish(content)

    async def work(self, call: Callable[[], Any]) -> Any:
        """Run a call in a thread; an error of facemill is answered as one sentence."""
        try:
            return await IOLoop.current().run_in_executor(self.pool, call)
        except FacemillError as error:
            self.set_status(400)
            self.send_json({"error": str(error)})
            return None


class _File(_Handler):
    """The pages' own files."""

    def get(self, token: str, name: str) -> None:
        file = _PAGES.get(name, name)
        if name == "plotly.js":
            from plotly.offline import get_plotlyjs  # late, since it takes a second

            content = get_plotlyjs()
        else:
            content = page_part(file) if name == "page.css" else page_part(file, "facemill.pipeline.view")
        if name == "video":  # plotly sets styles of single elements
            self.set_header("Content-Security-Policy", _POLICY.format("'self' 'unsafe-inline'"))
        self.set_header("Content-Type", f"{_KINDS[PurePath(file).suffix]}; charset=utf-8")
        self.finish(content)


class _Api(_Handler):
    """What the pages show, as JSON."""

    async def get(self, token: str, what: str) -> None:
        found = await self.work(getattr(self, f"_{what}"))
        if found is not None:
            self.send_json(found)

    def _about(self) -> dict[str, Any]:
        catalogue = self.viewed.catalogue
        name, columns = catalogue.root.resolve().name, list(catalogue.columns)
        return {"name": name, "rows": len(catalogue), "columns": columns, "scored": DETECTOR_SCORE in columns}

    def _fewest(self) -> dict[str, Any]:
        return {"videos": self.viewed.catalogue.fewest(self.viewed.sources.sampled(), FEWEST_VIDEOS)}

    def _list(self) -> dict[str, Any]:
        terms, sort = (self.get_query_argument(name, "") for name in ("filter", "sort"))
        falling = self.get_query_argument("falling", "") == "1"
        return self.viewed.catalogue.page(self._number("start"), PAGE_ROWS, terms, sort, falling=falling)

    def _sample(self) -> dict[str, Any]:
        number = self._number("number")
        if number >= len(self.viewed.catalogue):
            raise HTTPError(404)
        sample = self.viewed.catalogue.sample(number)
        return {**sample, "frame_size": frame_size(self.viewed.catalogue.root, sample["video_id"])}

    def _video(self) -> dict[str, Any]:
        return describe_video(self.viewed.catalogue, self.viewed.sources, self.get_query_argument("id"))

    def _number(self, name: str) -> int:
        text = self.get_query_argument(name, "0")
        if not (text.isascii() and text.isdecimal() and len(text) <= 12):
            raise HTTPError(404)
        return int(text)


class _Image(_Handler):
    """A crop or a mask, as its shard holds it."""

    async def get(self, token: str, name: str, number: str) -> None:
        if int(number) >= len(self.viewed.catalogue):
            raise HTTPError(404)
        catalogue, images = self.viewed.catalogue, self.viewed.images
        await self.send_image(lambda: images.read(*catalogue.place(int(number), name), name))


class _Frame(_Handler):
    """A frame of a source video."""

    async def get(self, token: str) -> None:
        video_id, index = self.get_query_argument("video"), self.get_query_argument("index")
        if not (index.isascii() and index.isdecimal() and len(index) <= 9):
            raise HTTPError(404)
        await self.send_image(lambda: (self.viewed.sources.jpeg(video_id, int(index)), "image/jpeg"))


def _plain(value: Any) -> Any:
    """A value as JSON holds it: text without characters that do not print, and no NaN."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
