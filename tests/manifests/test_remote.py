"""An S3 server that throttles, cuts bodies short, stalls, and whose credentials expire."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from facemill import DatasetError
from facemill.manifests import remote
from facemill.manifests.remote import RemoteFolder, reached
from tests.object_store import ObjectStore

FOLDER = RemoteFolder("s3://bucket/data")


def slow_down(start: Any) -> Any:
    return ObjectStore.refuse(start, "503 Slow Down", "SlowDown", "Please reduce your request rate.")


@pytest.fixture
def hasty(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, with clients that give up after seconds."""
    patience = {"connect_timeout": 1, "read_timeout": 0.3, "retries": {"mode": "standard", "total_max_attempts": 1}}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": patience})
    return s3


def test_how_long_a_server_is_waited_for(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the user says otherwise."""
    monkeypatch.setattr(fsspec.config, "conf", {})
    with reached("s3://bucket/a") as (filesystem, path):
        assert path == "bucket/a"
        assert filesystem.config_kwargs["read_timeout"] == 10
        assert filesystem.config_kwargs["retries"] == {"mode": "standard", "total_max_attempts": 6}
    monkeypatch.setattr(fsspec.config, "conf", {"s3": {"config_kwargs": {"read_timeout": 77}}})
    with reached("s3://bucket/a") as (filesystem, _):
        assert filesystem.config_kwargs["read_timeout"] == 77


def test_files_are_whole_or_absent(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b").write_bytes(b"")
    FOLDER.publish(["a", "below/b"], tmp_path)
    assert FOLDER.names() == ["a", "below"]
    assert FOLDER.names(below=True) == ["a", "below/b"]
    assert (FOLDER.size("a"), FOLDER.size("below/b"), FOLDER.size("c")) == (10, 0, None)
    assert (FOLDER.read("a"), FOLDER.read("below/b"), FOLDER.read("c")) == (b"0123456789", b"", None)
    FOLDER.fetch(["a", "c", "below/b"], tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()) == ["a", "b"]
    FOLDER.remove("a")
    FOLDER.remove("a")
    assert FOLDER.names() == ["below"]
    assert RemoteFolder("s3://bucket/none").names() == []


def test_digests_are_of_blocks_that_fit_in_memory(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hashlib import sha256

    monkeypatch.setattr(remote, "BLOCK_BYTES", 4)
    FOLDER.write("a", b"0123456789")
    s3.requests.clear()
    assert FOLDER.sha256("a", 1, 10) == sha256(b"123456789").hexdigest()
    assert len(s3.requests) == 3


def test_large_files_are_uploaded_in_parts(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs.core

    if (sizes := getattr(s3fs.core, "calculate_chunksize", None)) is None:
        pytest.skip("parts are of 50 MB in this s3fs")
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: sizes(size, chunksize=5 << 20))
    content = bytes(range(256)) * (11 << 12)
    (tmp_path / "large").write_bytes(content)
    FOLDER.publish(["large"], tmp_path)
    assert FOLDER.read("large") == content
    assert [method for method, _ in s3.requests].count("PUT") == 3


def test_a_server_that_throttles_is_asked_again(s3: Any, tmp_path: Path) -> None:
    """Every second answer is 503, as when a prefix has had too many requests."""
    FOLDER.write("a", b"content")
    (tmp_path / "b").write_bytes(b"more")
    count = iter(range(1000))
    s3.fault = lambda method, path, environ, start: slow_down(start) if next(count) % 2 == 0 else None
    FOLDER.fetch(["a"], tmp_path)
    FOLDER.publish(["b"], tmp_path)
    assert (tmp_path / "a").read_bytes() == b"content"
    assert FOLDER.read("b") == b"more"


def test_a_server_that_always_throttles_is_one_sentence(hasty: Any, tmp_path: Path) -> None:
    hasty.fault = lambda method, path, environ, start: slow_down(start)
    with pytest.raises(DatasetError, match=r"^s3://bucket/data/a cannot be written \(.* your request rate\): check"):
        FOLDER.write("a", b"content")


@pytest.mark.parametrize("cuts", [1, 1000])
def test_a_body_that_is_cut_short_is_read_again_or_refused(hasty: Any, tmp_path: Path, cuts: int) -> None:
    content = bytes(range(256)) * 1000
    FOLDER.write("a", content)
    left = iter(range(cuts))

    def cut(method: str, path: str, environ: dict[str, Any], start: Any) -> Any:
        body = method == "GET" and path.endswith("/a") and next(left, None) is not None
        return hasty.cut(environ, start) if body else None

    hasty.fault = cut
    if cuts == 1:
        FOLDER.fetch(["a"], tmp_path)
        assert (tmp_path / "a").read_bytes() == content
        left = iter([1])
        assert FOLDER.read("a") == content
        return
    with pytest.raises(DatasetError, match="s3://bucket/data/a cannot be read"):
        FOLDER.fetch(["a"], tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatasetError, match="s3://bucket/data/a cannot be read"):
        FOLDER.read("a")


def test_credentials_that_have_expired_are_named(s3: Any) -> None:
    s3.fault = lambda method, path, environ, start: s3.refuse(
        start, "400 Bad Request", "ExpiredToken", "The provided token has expired."
    )
    with pytest.raises(DatasetError, match=r"cannot be written \(.*token has expired\): check .*credentials"):
        FOLDER.write("a", b"content")


@pytest.mark.parametrize("call", ["read", "fetch", "publish", "write", "names"])
def test_a_server_that_never_answers_is_given_up(
    hasty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(remote, "LONGEST_PUT_S", 0.5)
    (tmp_path / "a").write_bytes(b"content")
    ended = threading.Event()
    hasty.fault = lambda method, path, environ, start: [] if ended.wait(30) else None
    start = time.monotonic()
    try:
        with pytest.raises(DatasetError, match=r"cannot be (read|written)"):
            {
                "read": lambda: FOLDER.read("a"),
                "fetch": lambda: FOLDER.fetch(["a"], tmp_path / "copy"),
                "publish": lambda: FOLDER.publish(["a"], tmp_path),
                "write": lambda: FOLDER.write("a", b"content"),
                "names": lambda: FOLDER.names(),
            }[call]()
    finally:
        ended.set()
    assert time.monotonic() - start < 25


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch, s3: Any) -> Iterator[None]:
    """A server that accepts connections and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        patience = {"connect_timeout": 7, "read_timeout": 7, "retries": {"total_max_attempts": 1}}
        monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": patience})
        yield


def test_a_server_that_takes_no_bytes_is_given_up(deaf: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LONGEST_PUT_S", 0.5)
    monkeypatch.setattr(remote, "SLOWEST_BYTES_S", 1 << 40)
    (tmp_path / "a").write_bytes(bytes(30 << 20))
    with pytest.raises(DatasetError, match=r"cannot be written \(3 times no answer within 0.5 s\)"):
        FOLDER.publish(["a"], tmp_path)
