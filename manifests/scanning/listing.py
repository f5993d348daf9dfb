"""The names of the files below a dataset's root: a local folder or any fsspec URL."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO

from facemill import ManifestError

__all__ = ["Listing", "is_video", "list_files", "locate", "open_file"]

_VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})


def is_video(path: str) -> bool:
    """Whether the name is a video's."""
    return PurePosixPath(path).suffix.lower() in _VIDEO_SUFFIXES


def locate(root: str, path: str) -> str:
    """Where the file is: `path` below `root`, as a local path or an fsspec URL.

    A chained URL takes the path in its first link: `zip://::s3://b/a.zip` gives `zip://x.mp4::s3://b/a.zip`.
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
        """`paths`, to ask whether one is there."""
        return frozenset(self.paths)

    def read_text(self, path: str) -> str:
        """The text of a small file, such as a list of splits.

        Raises:
            ManifestError: it cannot be read, or is not UTF-8.
        """
        place = locate(self.root, path)
        try:
            with open_file(place) as file:
                return file.read().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"{place} cannot be read ({error}): check that it is a whole text file.") from error


@contextmanager
def open_file(place: str) -> Iterator[IO[bytes]]:
    """Open a local path or an fsspec URL for reading bytes.

    Raises:
        OSError: it cannot be opened.
    """
    if "://" not in place:
        with Path(place).open("rb") as file:
            yield file
        return
    import fsspec  # here and below, because it takes a tenth of a second and only URLs need it

    with fsspec.open(place, "rb") as file:
        yield file


def list_files(root: str | Path) -> Listing:
    """List every file below `root`, by name only; links to folders are followed.

    Raises:
        ManifestError: there is no such folder.
    """
    root = str(root)
    if "://" in root:
        return Listing(root, tuple(sorted(_walk_url(root))))
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise ManifestError(f"There is no folder {folder}: give the dataset's root, as a folder or an fsspec URL.")
    return Listing(str(folder), tuple(sorted(_walk_folder(str(folder)))))


def _walk_folder(root: str) -> Iterator[str]:
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not _leads_back(folder, name)]
        prefix = folder[len(root) :].strip("/")
        for name in files:
            path = f"{prefix}/{name}" if prefix else name
            # A name that is not UTF-8 cannot stand in Parquet: it is listed so that it can be reported.
            yield path.encode(errors="backslashreplace").decode()


def _leads_back(folder: str, name: str) -> bool:
    """Whether the subfolder is a link to a folder above itself, which would never end."""
    link = Path(folder, name)
    return link.is_symlink() and Path(folder).resolve().is_relative_to(link.resolve())


def _walk_url(url: str) -> Iterator[str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, root = url_to_fs(url)
        names = filesystem.find(root)
    except (ImportError, OSError, ValueError) as error:
        raise ManifestError(
            f"{url} cannot be listed ({error}): check the URL and that its package is there."
        ) from error
    for name in names:
        yield name.removeprefix(root).lstrip("/")
