"""The names of the files below a dataset's root: a local folder or any fsspec URL."""

import json
import os
import posixpath
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from facemill import ManifestError

__all__ = ["Listing", "is_video", "list_files", "list_folders_of", "locate", "one_form", "open_file"]

_VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})


def is_video(path: str) -> bool:
    """Whether the name is that of a video file."""
    return PurePosixPath(path).suffix.lower() in _VIDEO_SUFFIXES


def one_form(name: str) -> str:
    """The name in Unicode form NFC, for comparison: macOS stores `é` as `e` and a combining accent."""
    return unicodedata.normalize("NFC", name)


def locate(root: str, path: str) -> str:
    """Join `root` and `path` to a local path or an fsspec URL.

    In a chained URL, the path goes into the first link: `zip://::s3://b/a.zip` gives `zip://x.mp4::s3://b/a.zip`.
    """
    if "://" not in root:
        return os.path.join(root, path)  # noqa: PTH118, called once per video of a large manifest
    head, chain, tail = root.partition("::")
    return f"{head}{'' if head.endswith('/') else '/'}{path}{chain}{tail}"


@dataclass(frozen=True)
class Listing:
    """The files below `root`.

    Attributes:
        root: absolute local folder, or fsspec URL.
        paths: relative POSIX paths, sorted.
    """

    root: str
    paths: tuple[str, ...]

    @cached_property
    def present(self) -> frozenset[str]:
        """`paths` as a set, for fast lookup."""
        return frozenset(self.paths)

    def find(self, path: str) -> str | None:
        """The path as listed here, possibly in another Unicode form; None if it is not listed."""
        return path if path in self.present else self._by_form.get(one_form(path))

    @cached_property
    def _by_form(self) -> dict[str, str]:
        return {one_form(path): path for path in self.paths}

    def read_text(self, path: str) -> str:
        """Read the text of a small file, such as a list of splits.

        Raises:
            ManifestError: it cannot be read, or is not UTF-8.
        """
        place = locate(self.root, path)
        try:
            with open_file(place) as file:
                return file.read().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"{place} cannot be read ({error}): check that it is a complete text file.") from error

    def read_json_table(self, path: str) -> Mapping[str, Mapping[str, Any]]:
        """Read a JSON file that describes each video of a dataset, by file name or path.

        Raises:
            ManifestError: the file cannot be read, or is not an object of objects.
        """
        table = self._read_json(path)
        if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
            raise ManifestError(f"{path} does not describe videos by name: restore the file.")
        return table

    def read_json_rows(self, path: str) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of a JSON file that lists the videos of a dataset, of which only the text is kept in memory.

        Raises:
            ManifestError: the file is missing, cannot be read, or is not a list of objects.
        """
        if path not in self.present:
            raise ManifestError(f"{self.root} lacks {path}: copy it from the dataset's download.")
        text = self.read_text(path)
        if not text.lstrip().startswith("["):
            raise ManifestError(f"{path} does not list videos: restore the file.")
        try:
            for row in _json_items(text):
                if not isinstance(row, dict):
                    raise ManifestError(f"{path} does not list videos: restore the file.")
                yield row
        except ValueError as error:
            raise ManifestError(f"{path} is not JSON ({error}): download it again.") from error

    def _read_json(self, path: str) -> Any:
        try:
            return json.loads(self.read_text(path))
        except ValueError as error:
            raise ManifestError(f"{path} is not JSON ({error}): download it again.") from error


def _json_items(text: str) -> Iterator[Any]:
    """Yield the items of a JSON array, one at a time: a million of them take four times the memory of their text.

    Raises:
        ValueError: it is not JSON.
    """
    decoder, blank = json.JSONDecoder(), re.compile(r"[ \t\n\r]*")

    def skip(place: int) -> int:
        found = blank.match(text, place)
        return found.end() if found else place

    place = skip(skip(0) + 1)
    if text[place : place + 1] == "]":
        place += 1
    else:
        mark = ","
        while mark == ",":
            item, place = decoder.raw_decode(text, skip(place))
            yield item
            place = skip(place)
            mark, place = text[place : place + 1], place + 1
        if mark != "]":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, place - 1)
    if skip(place) != len(text):
        raise json.JSONDecodeError("Extra data", text, place)


@contextmanager
def open_file(place: str) -> Iterator[IO[bytes]]:
    """Open a local path or an fsspec URL for reading bytes.

    Raises:
        OSError: it cannot be opened.
    """
    if "://" not in place:
        if Path(place).exists() and not Path(place).is_file():
            raise OSError(f"{place} is not a regular file")  # reading a pipe would block
        with Path(place).open("rb") as file:
            yield file
        return
    import fsspec  # here and below, because it takes a tenth of a second and only URLs need it

    with fsspec.open(place, "rb") as file:
        yield file


def list_files(root: str | Path) -> Listing:
    """List every file below `root`, without opening any; follow links to folders, listing each folder once.

    Raises:
        ManifestError: there is no such folder, or one cannot be listed.
    """
    root = str(root)
    if "://" in root:
        return Listing(root, tuple(sorted(_walk_url(root))))
    folder = _existing(root)
    return Listing(str(folder), tuple(sorted(_walk_folder(str(folder)))))


def list_folders_of(root: str, paths: Iterable[str]) -> Listing:
    """List only the folders that contain `paths` (relative to `root`), without subfolders.

    Raises:
        ManifestError: as `list_files`.
    """
    folders = sorted({posixpath.dirname(path) for path in paths})
    if "://" in root:
        return Listing(root, tuple(sorted(path for folder in folders for path in _names_at_url(root, folder))))
    top = _existing(root)
    found = {name for folder in folders for name in _names_in(top, folder)}
    return Listing(str(top), tuple(sorted(found)))


def _existing(root: str) -> Path:
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise ManifestError(f"There is no folder {folder}: give the dataset's root, as a folder or an fsspec URL.")
    return folder


def _walk_folder(root: str) -> Iterator[str]:
    """Visit real folders before linked ones, so that a file is listed at its real place."""
    seen: set[tuple[int, int]] = set()
    tops = deque([root])
    while tops:
        for folder, subfolders, files in os.walk(tops.popleft(), onerror=_refuse):
            status = os.stat(folder)  # noqa: PTH116, once per folder of a large dataset
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            subfolders[:] = sorted({*subfolders} - {"lost+found"})  # belongs to the file system, readable by root only
            tops.extend(place for name in subfolders if os.path.islink(place := os.path.join(folder, name)))  # noqa: PTH114, PTH118
            prefix = folder[len(root) :].strip("/")
            yield from (_printable(f"{prefix}/{name}" if prefix else name) for name in files)


def _names_in(root: Path, folder: str) -> Iterator[str]:
    there = _as_on_disk(root, folder)
    try:
        names = os.listdir(root / there) if there is not None else []  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        _refuse(error)
    yield from (_printable(f"{there}/{name}" if there else name) for name in names)


def _as_on_disk(root: Path, folder: str) -> str | None:
    """The folder's path in the Unicode form used on disk; None if it does not exist."""
    if (root / folder).is_dir():
        return folder
    parent, _, name = folder.rpartition("/")
    wanted = one_form(folder)
    return next((path for path in _names_in(root, parent) if one_form(path) == wanted), None) if name else None


def _refuse(error: OSError) -> NoReturn:
    raise ManifestError(
        f"{error.filename} cannot be listed ({error.strerror}): allow it, otherwise its videos would be missed."
    ) from error


def _printable(path: str) -> str:
    """Escape a name that is not UTF-8, which Parquet cannot store, so that it can be reported."""
    return path.encode(errors="backslashreplace").decode()


def _walk_url(url: str) -> Iterator[str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, root = url_to_fs(url)
        names = filesystem.find(root)
    except (ImportError, OSError, ValueError) as error:
        raise ManifestError(
            f"{url} cannot be listed ({error}): check the URL and that its package is installed."
        ) from error
    for name in names:
        yield name.removeprefix(root).lstrip("/")


def _names_at_url(url: str, folder: str) -> Iterator[str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, root = url_to_fs(url)
        names = filesystem.ls(posixpath.join(root, folder), detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (ImportError, OSError, ValueError) as error:
        raise ManifestError(
            f"{url} cannot be listed ({error}): check the URL and that its package is installed."
        ) from error
    yield from (posixpath.join(folder, posixpath.basename(name.rstrip("/"))) for name in names)
