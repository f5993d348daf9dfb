"""The names of the files below a dataset's root: a local folder or any fsspec URL."""

import csv
import json
import os
import posixpath
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from facemill import ManifestError
from facemill.manifests.archives import archive_of, is_archive, list_archive, open_file, storable
from facemill.manifests.urls import answered, is_url

__all__ = ["Listing", "is_image", "is_video", "list_files", "list_folders_of", "list_videos", "locate", "one_form"]

_VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_THREADS = 4


def is_video(path: str) -> bool:
    """Whether the name is that of a video file."""
    return PurePosixPath(path).suffix.lower() in _VIDEO_SUFFIXES


def is_image(path: str) -> bool:
    """Whether the name is that of an image file; hidden files, such as `._1.png` of macOS, are not."""
    return path.lower().endswith(_PICTURES) and not PurePosixPath(path).name.startswith(".")


def one_form(name: str) -> str:
    """The name in Unicode form NFC, for comparison: macOS stores `é` as `e` and a combining accent."""
    return unicodedata.normalize("NFC", name)


def locate(root: str, path: str) -> str:
    """Join `root` and `path` to a local path or an fsspec URL.

    In a chained URL, the path goes into the first link: `zip://::s3://b/a.zip` gives `zip://x.mp4::s3://b/a.zip`.
    """
    if not is_url(root):
        return os.path.join(root, path)  # noqa: PTH118, called once per video of a large manifest
    head, chain, tail = root.partition("::")
    return f"{head}{'' if head.endswith('/') else '/'}{path}{chain}{tail}"


@dataclass(frozen=True)
class Listing:
    """The files below `root`.

    Attributes:
        root: absolute local folder, or fsspec URL.
        paths: relative POSIX paths, sorted; those in archives continue after the archive's.
        unreadable: archives that are damaged, unsafe, or inside another one, of which nothing is listed.
        frames: by path of a video that stands for a folder of images (see `list_videos`), the folder.
    """

    root: str
    paths: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    frames: Mapping[str, str] = field(default_factory=dict)

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
            ManifestError: the file is missing, cannot be read, or is not an object of objects.
        """
        self._need(path)
        try:
            table = json.loads(self.read_text(path))
        except ValueError as error:
            raise ManifestError(f"{path} is not JSON ({error}): download it again.") from error
        if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
            raise ManifestError(f"{path} does not describe videos by name: restore the file.")
        return table

    def read_json_rows(self, path: str) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of a JSON file that lists the videos of a dataset, of which only the text is kept in memory.

        Raises:
            ManifestError: the file is missing, cannot be read, or is not a list of objects.
        """
        self._need(path)
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

    def read_csv_rows(self, path: str, columns: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
        """Read the rows of a table with a header, with their line numbers; cells that a row lacks are empty.

        Raises:
            ManifestError: the file is missing, cannot be read, or lacks one of `columns`.
        """
        self._need(path)
        table = csv.DictReader(self.read_text(path).splitlines(), restval="")
        if missing := set(columns) - set(table.fieldnames or ()):
            raise ManifestError(f"{path} lacks the columns {', '.join(sorted(missing))}: restore the file.")
        for row in table:
            yield table.line_num, row

    def read_split_list(self, path: str) -> list[str]:
        """Read the lines of a list of a split's videos.

        Raises:
            ManifestError: it is missing, or cannot be read.
        """
        self._need(path, ", or pass --split identity:80/10/10")
        return self.read_text(path).splitlines()

    def _need(self, path: str, instead: str = "") -> None:
        if path not in self.present:
            raise ManifestError(f"{self.root} lacks {path}: copy it from the dataset's download{instead}.")


def _json_items(text: str) -> Iterator[Any]:
    """Yield a JSON array's items one at a time (a million take four times their text's memory), or raise ValueError."""
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


def list_files(root: str | Path, *, archives: bool = False) -> Listing:
    """List every file below `root`; follow links to folders, listing each folder once.

    Args:
        root: local folder or fsspec URL; with `archives` also an archive.
        archives: list the files in archives too, below the archive's path; a compressed tar is read to its end for
            that. Otherwise no file is opened.

    Raises:
        ManifestError: there is no such folder, one cannot be listed, or the root is a damaged archive.
    """
    return _listing(str(root), archives=archives, folded=False)


def list_videos(root: str) -> Listing:
    """List the files below `root`, and in archives, with folders of images in place of the images.

    A folder `a/000` with images is listed as the video `a/000.mp4` whose frames it holds (see `Listing.frames`), unless
    there is a file of this name: adapters know videos by such names, and `drafts.enter` enters the folder.

    Raises:
        ManifestError: as `list_files`.
    """
    return _listing(root, archives=True, folded=True)


def _listing(root: str, *, archives: bool, folded: bool) -> Listing:
    head = root.partition("::")[0]
    unreadable: list[str] = []
    if archives and is_archive(head) and (is_url(root) or Path(root).expanduser().is_file()):
        top = root if is_url(root) else str(Path(root).expanduser().absolute())
        paths: Iterable[str] = list_archive(top)
    else:
        top = root if is_url(root) else str(_existing(root))
        paths = _walk_url(top) if is_url(top) else _walk_folder(top)
        paths = _with_members(top, paths, unreadable) if archives else paths
    return _folded(top, paths, unreadable) if folded else Listing(top, tuple(sorted(paths)), tuple(unreadable))


def _with_members(root: str, paths: Iterable[str], unreadable: list[str]) -> Iterator[str]:
    """The paths, with the members of an archive in its place; damaged ones are added to `unreadable`."""
    packed = []
    for path in paths:
        if is_archive(path):
            packed.append(path)
        else:
            yield path
    packed.sort()

    def members(path: str) -> list[str] | None:
        try:
            return list_archive(locate(root, path))
        except ManifestError:
            return None

    with ThreadPoolExecutor(_THREADS) as pool:
        for path, names in zip(packed, pool.map(members, packed), strict=True):
            found = [f"{path}/{name}" for name in names or ()]
            unreadable += [path] if names is None else filter(is_archive, found)
            yield from found


def _folded(root: str, paths: Iterable[str], unreadable: list[str]) -> Listing:
    folders: set[str] = set()
    files = set()
    for path in paths:
        if is_image(path):
            folders.add(posixpath.dirname(path))
        else:
            files.add(path)
    frames = {f"{folder}.mp4": folder for folder in folders if folder and f"{folder}.mp4" not in files}
    return Listing(root, tuple(sorted([*files, *frames])), tuple(unreadable), frames)


def list_folders_of(root: str, paths: Iterable[str]) -> Listing:
    """List only the folders that contain `paths` (relative to `root`), in archives too, without what is in subfolders.

    Raises:
        ManifestError: as `list_files`.
    """
    folders = {posixpath.dirname(path) for path in paths}
    top = root if is_url(root) else str(_existing(root))
    archives = {folder: _archive_in(top, folder) for folder in folders}
    unreadable: list[str] = []
    names: set[str] = set()
    for path in _with_members(top, filter(None, set(archives.values())), unreadable):
        parent = posixpath.dirname(path)
        names |= {place for place in (path, parent) if posixpath.dirname(place) in folders}
    for folder in sorted(folder for folder, archive in archives.items() if archive is None):
        names.update(_names_at_url(root, folder) if is_url(root) else _names_in(Path(top), folder))
    return Listing(top, tuple(sorted(names)), tuple(unreadable))


def _archive_in(root: str, folder: str) -> str | None:
    """The archive below `root` that a folder is, or is inside; None for a folder on disk."""
    some_file = f"{folder}/x"
    packed = archive_of(locate(root, some_file))
    return None if packed is None else some_file.removesuffix(f"/{packed[1]}")


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
            yield from (storable(f"{prefix}/{name}" if prefix else name) for name in files)


def _names_in(root: Path, folder: str) -> Iterator[str]:
    there = _as_on_disk(root, folder)
    try:
        names = os.listdir(root / there) if there is not None else []  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        _refuse(error)
    yield from (storable(f"{there}/{name}" if there else name) for name in names)


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


def _not_listed(url: str, error: Exception) -> ManifestError:
    return ManifestError(
        f"{url} cannot be listed ({error}): check the URL, your credentials and that its package is installed."
    )


def _walk_url(url: str) -> Iterator[str]:
    try:
        with answered(url) as (filesystem, root):
            names = filesystem.find(root)
    except OSError as error:
        raise _not_listed(url, error) from error
    for name in names:
        yield name.removeprefix(root).lstrip("/")


def _names_at_url(url: str, folder: str) -> Iterator[str]:
    try:
        with answered(url) as (filesystem, root):
            names = filesystem.ls(posixpath.join(root, folder), detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _not_listed(url, error) from error
    yield from (posixpath.join(folder, posixpath.basename(name.rstrip("/"))) for name in names)
