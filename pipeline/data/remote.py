"""Datasets behind fsspec URLs: their tables are copied when they are opened, images are read by byte ranges.

The copy is a local folder without shards. A shard that cannot be read by ranges, since another library has written it
anew or the server sends whole files only, is copied too when it is first needed.
"""

import atexit
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from facemill import DatasetError
from facemill.manifests.shards import EncodedImages
from facemill.manifests.shards.dataset import BUILD_FILE, DATASET_FILE, SAMPLES_FILE, STATE_FOLDER, VIDEOS_FILE
from facemill.manifests.storage import atomic_path, read_json
from facemill.pipeline.clips.fetched import copies_folder

__all__ = ["RemoteShard", "bring", "is_url", "local_folder", "origin", "remote_shard"]

TABLES = (DATASET_FILE, SAMPLES_FILE, VIDEOS_FILE, f"{STATE_FOLDER}/{BUILD_FILE}")
URL_FILE = "remote.json"
DEEPEST = 4
"""Folders between a shard and its dataset's, at most."""

_copies = ExitStack()
atexit.register(_copies.close)


def is_url(root: str | Path) -> bool:
    """Whether a dataset's folder is named by an fsspec URL."""
    return "://" in str(root)


@cache
def local_folder(url: str) -> Path:
    """Copy the tables of a dataset to a temporary folder, once per process, which removes it when it ends.

    Raises:
        DatasetError: if there is no finished dataset at the URL, or it cannot be reached.
    """
    url = url.rstrip("/")
    folder = _copies.enter_context(copies_folder()) / (url.rpartition("/")[2] or "dataset")
    (folder / STATE_FOLDER).mkdir(parents=True)
    with _readable(url) as (filesystem, root):
        for name in TABLES:
            if filesystem.isfile(f"{root}/{name}"):
                filesystem.get_file(f"{root}/{name}", str(folder / name))
    if not (folder / DATASET_FILE).is_file():
        raise DatasetError(f"{url} has no {DATASET_FILE}: give the folder of a finished build.")
    (folder / URL_FILE).write_text(json.dumps({"url": url}))
    return folder


class RemoteShard:
    """A shard behind a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def size(self) -> int:
        """Bytes of the file.

        Raises:
            DatasetError: if it cannot be reached.
        """
        with _readable(self.url) as (filesystem, path):
            return int(filesystem.size(path) or 0)

    def read(self, places: Mapping[str, tuple[int, int]]) -> EncodedImages:
        """The images at places (first byte and number of bytes), by name, requested together.

        Raises:
            DatasetError: if it cannot be reached.
        """
        starts = [offset for offset, _ in places.values()]
        ends = [offset + size for offset, size in places.values()]
        with _readable(self.url) as (filesystem, path):
            return dict(
                zip(places, filesystem.cat_ranges([path] * len(places), starts, ends, on_error="raise"), strict=True)
            )

    def copy(self, to: Path) -> None:
        """Copy the whole file, atomically.

        Raises:
            DatasetError: if it cannot be reached.
        """
        with _readable(self.url) as (filesystem, path), atomic_path(to) as temporary:
            filesystem.get_file(path, str(temporary))


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
    shard = remote_shard(path)
    if shard is not None:
        shard.copy(path)
    return path


@contextmanager
def _readable(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs  # late: it takes a tenth of a second, and only URLs need it

    try:
        yield url_to_fs(url)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{url} cannot be read ({why}): check the URL and that its package is installed.") from error
