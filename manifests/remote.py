"""Folders behind fsspec URLs: object stores and servers that builds write to and readers read from.

Of a dataset, the tables are copied when it is opened, and images are read by byte ranges. The copy is a local folder
without shards. A shard that cannot be read by ranges, since another library has written it anew or the server sends
whole files only, is copied too when it is first needed.

Nothing is renamed, and an object is whole or absent. Slow, throttling and failing servers are the concern of the
library of their protocol, which tries again; for how long, `facemill.manifests.urls` says.
"""

import asyncio
import atexit
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from facemill import DatasetError
from facemill.manifests.copies import copies_folder
from facemill.manifests.shards import EncodedImages
from facemill.manifests.shards.dataset import (
    BUILD_FILE,
    DATASET_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    VIDEOS_FILE,
    read_dataset,
)
from facemill.manifests.storage import atomic_path, read_json, write_atomically
from facemill.manifests.urls import answered, is_url

__all__ = [
    "RemoteFolder",
    "RemoteShard",
    "borrowed",
    "bring",
    "here",
    "local_folder",
    "origin",
    "reached",
    "remote_shard",
]

TABLES = (DATASET_FILE, SAMPLES_FILE, VIDEOS_FILE, f"{STATE_FOLDER}/{BUILD_FILE}")
URL_FILE = f"{STATE_FOLDER}/remote.json"
DEEPEST = 4
"""Folders between a shard and its dataset's, at most."""
AT_ONCE = 16
"""Files that are fetched at the same time."""
BLOCK_BYTES = 16 << 20
LONGEST_PUT_S, SLOWEST_BYTES_S = 180.0, 1 << 18
"""Seconds that an upload may take, and bytes for each of which more: some servers that take no bytes run into no limit
of the library."""
PUTS = 3
"""How often it is begun."""

_copies = ExitStack()
atexit.register(_copies.close)


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """A folder behind a URL; names are POSIX paths below it.

    Every method raises a `DatasetError` if the server cannot be reached or refuses.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def names(self, *, below: bool = False) -> list[str]:
        """Names of the files and folders in it, sorted; or of all files in it and `below`."""
        found: list[str] = []
        with reached(self.url) as (filesystem, root), suppress(FileNotFoundError):
            found = filesystem.find(root) if below else filesystem.ls(root, detail=False)
            start = root.rstrip("/") + "/"
            found = sorted(path.removeprefix(start) for path in found if path.startswith(start) and path != start)
        return found

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None if there is none."""
        with TemporaryDirectory() as folder:  # one request: s3fs's `cat_file` makes two or three
            self.fetch([name], Path(folder))
            file = Path(folder, name)
            return file.read_bytes() if file.exists() else None

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        with reached(f"{self.url}/{name}") as (filesystem, path), suppress(FileNotFoundError):
            return int(filesystem.size(path) or 0)
        return None

    def sha256(self, name: str, start: int, end: int) -> str:
        """SHA-256, hex, of a file's bytes from `start` to `end`."""
        digest = hashlib.sha256()
        with reached(f"{self.url}/{name}") as (filesystem, path):
            for first in range(start, end, BLOCK_BYTES):
                digest.update(filesystem.cat_file(path, start=first, end=min(end, first + BLOCK_BYTES)))
        return digest.hexdigest()

    def fetch(self, names: Iterable[str], to: Path) -> None:
        """Copy files to a local folder, several at once; those that do not exist are left out."""

        def copy(name: str) -> None:
            with reached(f"{self.url}/{name}") as (filesystem, path), suppress(FileNotFoundError):
                _download(filesystem, path, to / name)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(copy, names))

    def publish(self, names: Iterable[str], of: Path) -> None:
        """Upload files of a local folder one after another: each is complete before the next begins."""
        for name in names:
            self.write(name, of / name)

    def write(self, name: str, content: bytes | Path) -> None:
        """Write a file: bytes, or the content of a local one."""

        def call(filesystem: Any, path: str, kind: str = "") -> Any:
            if isinstance(content, Path):
                return getattr(filesystem, f"{kind}put_file")(str(content), path)
            return getattr(filesystem, f"{kind}pipe_file")(path, content)

        with reached(f"{self.url}/{name}", "written") as (filesystem, path):
            if not filesystem.async_impl:
                call(filesystem, path)
                return
            from fsspec.asyn import sync

            size = content.stat().st_size if isinstance(content, Path) else len(content)
            limit = LONGEST_PUT_S + size / SLOWEST_BYTES_S

            async def put() -> None:
                await asyncio.wait_for(call(filesystem, path, "_"), limit)

            for left in reversed(range(PUTS)):
                try:
                    sync(filesystem.loop, put)
                    return
                except TimeoutError:
                    if not left:
                        raise TimeoutError(f"{PUTS} times no answer within {limit:.3g} s") from None

    def remove(self, name: str) -> None:
        """Delete a file, if there is one."""
        with reached(f"{self.url}/{name}", "deleted") as (filesystem, path), suppress(FileNotFoundError):
            filesystem.rm_file(path)


@cache
def local_folder(url: str, *, whole: bool = False) -> Path:
    """Copy the tables of a dataset to a temporary folder, once per process, which removes it when it ends.

    Args:
        whole: copy everything but the shards. A file that is no dataset's is left empty: `verify` names it.

    Raises:
        DatasetError: if there is no finished dataset at the URL, or it cannot be reached.
    """
    remote = RemoteFolder(url.rstrip("/"))
    folder = _copies.enter_context(copies_folder()) / (remote.url.rpartition("/")[2] or "dataset")
    remote.fetch(TABLES, folder)
    if not (folder / DATASET_FILE).is_file():
        raise DatasetError(f"{remote} has no {DATASET_FILE}: give the folder of a finished build.")
    write_atomically(folder / URL_FILE, json.dumps({"url": remote.url}).encode())
    if whole:
        shards = {shard.path for shard in read_dataset(folder).shards}
        names = [name for name in remote.names(below=True) if name not in shards and not (folder / name).exists()]
        ours = [name for name in names if "/" not in name or name.startswith(f"{STATE_FOLDER}/")]
        remote.fetch(ours, folder)
        for name in set(names).difference(ours):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    return folder


def here(root: str | Path) -> Path:
    """A dataset's folder, or a copy of all but the shards of one behind a URL: see `local_folder`."""
    return local_folder(str(root), whole=True) if is_url(root) else Path(root)


@dataclass(frozen=True, slots=True)
class RemoteShard:
    """A shard behind a URL. Every method raises a `DatasetError` if it cannot be reached."""

    url: str

    def size(self) -> int:
        """Bytes of the file."""
        with reached(self.url) as (filesystem, path):
            return int(filesystem.size(path) or 0)

    def read(self, places: Mapping[str, tuple[int, int]]) -> EncodedImages:
        """The images at places (first byte and number of bytes), by name, requested together."""
        starts = [offset for offset, _ in places.values()]
        ends = [offset + size for offset, size in places.values()]
        with reached(self.url) as (filesystem, path):
            found = filesystem.cat_ranges([path] * len(places), starts, ends, on_error="raise")
        return dict(zip(places, found, strict=True))


def remote_shard(path: Path) -> RemoteShard | None:
    """The shard that is missing at a path below a copied dataset's folder; None if it is there, or no copy's."""
    if path.exists():
        return None
    for folder in list(path.parents)[:DEEPEST]:
        if (url := _url_of(folder)) is not None:
            return RemoteShard(f"{url}/{path.relative_to(folder).as_posix()}")
    return None


def origin(folder: Path) -> str:
    """Where a dataset is: the URL of a copied one, or the absolute path of its folder."""
    return _url_of(folder) or str(folder.absolute())


def _url_of(folder: Path) -> str | None:
    file = folder / URL_FILE
    return str(read_json(file)["url"]) if file.is_file() else None


def bring(path: Path) -> Path:
    """Copy a shard that is missing at a path from where its dataset is.

    Raises:
        DatasetError: if it cannot be reached.
    """
    if (shard := remote_shard(path)) is not None:
        with reached(shard.url) as (filesystem, place):
            _download(filesystem, place, path)
    return path


@contextmanager
def borrowed(folder: Path, shard: str) -> Iterator[None]:
    """Copy a shard of a copied dataset for as long as the context, if the dataset has it; others stay as they are.

    Raises:
        DatasetError: if the server cannot be reached.
    """
    url = None if (folder / shard).exists() else _url_of(folder)
    if url is not None:
        RemoteFolder(url).fetch([shard], folder)
    try:
        yield
    finally:
        if url is not None:
            (folder / shard).unlink(missing_ok=True)


def _download(filesystem: Any, path: str, to: Path) -> None:
    with atomic_path(to) as temporary:
        filesystem.get_file(path, str(temporary))


@contextmanager
def reached(url: str, done: str = "read") -> Iterator[tuple[Any, str]]:
    """The file system of a URL, which asks its server instead of an earlier listing, and the path in it.

    Raises:
        DatasetError: for whatever goes wrong in the context.
    """
    try:
        with answered(url) as (filesystem, path):
            filesystem.invalidate_cache()
            yield filesystem, path
    except OSError as error:
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        advice = "check the URL, the network, your credentials, and that the package of its protocol is installed"
        raise DatasetError(f"{url} cannot be {done} ({why}): {advice}.") from error
