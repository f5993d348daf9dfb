"""Who is answered, and with what."""

import asyncio
import io
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from facemill.pipeline.view.catalogue import Catalogue
from facemill.pipeline.view.images import SourceFrames
from facemill.pipeline.view.server import PAGE_ROWS, Viewed, make_app, serve
from tests.pipeline.view.staged import Staged

TOKEN = "a-token-of-the-test"


def viewed(staged: Staged) -> Viewed:
    catalogue = Catalogue(staged.shards)
    return Viewed(catalogue, SourceFrames(staged.shards, catalogue.info, [str(staged.videos)]))


class TestServer(AsyncHTTPTestCase):
    staged: Staged

    @pytest.fixture(autouse=True)
    def _dataset(self, staged: Staged) -> None:
        type(self).staged = staged

    def get_app(self) -> Application:
        return make_app(viewed(self.staged), TOKEN)

    def ask(self, path: str, *, method: str = "GET", **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = "" if method in ("POST", "PUT") else None
        return self.fetch(path, method=method, headers=named, body=body, follow_redirects=False)

    def here(self, path: str, **headers: str):
        return self.ask(f"/{TOKEN}/{path}", **headers)

    def value(self, path: str):
        answer = self.here(path)
        assert answer.code == 200, answer.body
        return json.loads(answer.body)

    def test_pages_and_their_files_are_served_with_a_policy(self) -> None:
        for path in ("", "video", "gallery.js", "video.js", "shared.js", "view.css", "page.css", "api/about"):
            answer = self.here(path)
            assert answer.code == 200
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'")
            assert ("unsafe" in policy) == (path == "video")  # plotly's styles, never scripts
            assert "unsafe" not in policy.partition("style-src")[0]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert "Access-Control-Allow-Origin" not in answer.headers

    def test_pages_have_nothing_inline_and_nothing_from_elsewhere(self) -> None:
        for path in ("", "video"):
            page = self.here(path).body.decode()
            assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=|javascript:", page)
            assert re.findall(r'(?:src|href)="([^"]+)"', page)
            assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
        code = "".join(self.here(f"{name}.js").body.decode() for name in ("gallery", "video", "shared"))
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", code)

    def test_without_the_token_nothing_is_answered(self) -> None:
        beginnings = ("/", "/x/", f"/{TOKEN}x/", f"/{TOKEN[:-1]}/", "//", f"/{TOKEN}")
        for path in (*beginnings, "/favicon.ico", "/x/image/0", "/x/api/about"):
            answer = self.ask(path)
            assert (answer.code, b"samples" in answer.body) == (403, False), path

    def test_other_hosts_are_refused(self) -> None:
        port = self.get_http_port()
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "0.0.0.0", "["):
            assert self.here("api/about", Host=host).code == 403, host
        for host in ("localhost", f"localhost:{port}", "127.0.0.1:9", f"LOCALHOST:{port}"):  # 9: a forwarded port
            assert self.here("api/about", Host=host).code == 200, host

    def test_other_origins_and_sites_are_refused(self) -> None:
        own = f"http://127.0.0.1:{self.get_http_port()}"
        assert self.here("api/about", Origin=own).code == 200
        for origin in ("http://evil.example", "null", own.replace("http:", "https:"), "http://localhost:1"):
            assert self.here("api/about", Origin=origin).code == 403, origin
        assert self.here("image/0", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").code == 403
        assert self.here("image/0", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors").code == 403
        assert self.here("image/0", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="no-cors").code == 200
        assert self.here("", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").code == 200

    def test_nothing_is_taken(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert self.ask(f"/{TOKEN}/api/about", method=method).code == 405

    def test_no_path_leaves_the_dataset(self) -> None:
        outside = ("../dataset.json", "..%2fdataset.json", "%2e%2e/dataset.json", "image/../../x", "frame/../x")
        for path in (*outside, "dataset.json", "samples.parquet", "server.py", "image/-1", "image/99999", "image/0x1"):
            assert self.here(path).code in (403, 404), path

    def test_a_list_has_the_asked_page(self) -> None:
        assert self.value("api/about")["rows"] == 24
        found = self.value("api/list?start=20&filter=label%3D0&sort=frame_index&falling=1")
        assert (found["total"], found["rows"]) == (18, [])
        found = self.value("api/list?filter=label%3D0&sort=frame_index&falling=1")
        assert [row["frame_index"] for row in found["rows"]][:2] == [23, 21]
        assert PAGE_ROWS == 60
        answer = self.here("api/list?filter=no%3D1")
        assert (answer.code, json.loads(answer.body)["error"].partition(":")[0]) == (400, "There is no column 'no'")
        for path in ("api/list?start=-1", "api/list?start=1e3", "api/sample?number=24", "api/list?start=%D9%A3"):
            assert self.here(path).code == 404, path

    def test_videos_with_the_fewest_samples_are_named(self) -> None:
        found = self.value("api/fewest")["videos"]
        assert [(one["video_id"], one["samples"]) for one in found] == [("e", 0), ("r", 6), ("f", 6), ("s", 12)]

    def test_images_and_frames(self) -> None:
        row = self.value("api/list?filter=f-f000002")["rows"][0]
        crop, mask = (self.here(f"{name}/{row['number']}") for name in ("image", "mask"))
        assert (crop.headers["Content-Type"], mask.headers["Content-Type"]) == ("image/png", "image/png")
        sample = self.value(f"api/sample?number={row['number']}")
        share = (np.asarray(Image.open(io.BytesIO(mask.body))) > 0).mean()
        assert abs(share - sample["mask_coverage"]) < 1e-6
        assert sample["frame_size"] == [320, 240]
        frame = self.here("frame?video=f&index=2")
        assert Image.open(io.BytesIO(frame.body)).size == (320, 240)
        for path, code in (("frame?video=f&index=99", 400), ("frame?video=f&index=-1", 404), ("frame?video=f", 400)):
            answer = self.here(path)
            assert (answer.code, "error" in json.loads(answer.body)) == (code, True)

    def test_names_are_printable_in_every_answer(self) -> None:
        video = self.value("api/video?id=f")
        assert video["video"]["method"] == "<img src=x onerror=alert(1)>\\x1b[2J"
        answer = self.here("api/video?id=%E2%80%AE%3Cb%3E")  # a mark that reverses what follows
        assert json.loads(answer.body)["error"].startswith("This dataset has no video \\u202e<b>")
        assert answer.headers["Content-Type"].startswith("application/json")

    def test_nothing_is_written(self) -> None:
        def files() -> dict[Path, int]:
            return {path: path.stat().st_mtime_ns for path in self.staged.shards.rglob("*")}

        before = files()
        for path in ("", "api/about", "api/list", "api/video?id=f", "image/0", "mask/0", "frame?video=f&index=0"):
            self.here(path)
        assert files() == before


def test_a_server_listens_on_this_machine_only_and_ends_by_itself(staged: Staged) -> None:
    told: list[str] = []

    def ready(address: str) -> None:
        told.append(address)
        port = int(address.split(":")[2].partition("/")[0])
        with socket.socket() as other:  # all addresses of this machine but 127.0.0.1 are free
            other.bind(("127.0.0.2", port))

    asyncio.run(asyncio.wait_for(serve(viewed(staged), idle_s=0.1, ready=ready), 20))
    asyncio.run(asyncio.wait_for(serve(viewed(staged), idle_s=0.1, ready=ready), 20))
    first, second = (re.fullmatch(r"http://127\.0\.0\.1:\d+/([\w-]{32})/", address) for address in told)
    assert first
    assert second
    assert first[1] != second[1]
