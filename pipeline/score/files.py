"""The files to score, as entries of a manifest that is never written."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePath

from facemill import ManifestError
from facemill.manifests import VideoEntry
from facemill.manifests.scanning.listing import is_image, is_video, list_files

__all__ = ["SPLIT", "Files", "find_files"]

SPLIT = "test"
"""Split of all entries."""
_MORE = frozenset({".3gp", ".bmp", ".flv", ".gif", ".mts", ".tif", ".tiff", ".ts", ".webp"})
"""Suffixes of a folder's videos and images besides those that datasets have."""


@dataclass(slots=True)
class Files:
    """The files to score.

    Attributes:
        entries: by name: as the user gave it, or below the given folder; in that order.
        faults: why a given file or folder cannot be read, a sentence by name.
        notes: sentences about files that are left out.
    """

    entries: dict[str, VideoEntry] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_files(places: Sequence[str | Path]) -> Files:
    """Find videos and images: given files, whatever their suffix, and those in given folders and below, by suffix.

    Every image is an item of its own: a video of one frame. A file that is given twice counts once. The label of an
    entry is unknown; it is that of a real video, of which a build keeps all faces, and must not reach what is written.
    """
    files = Files()
    names: dict[str, str] = {}  # by absolute path, which keeps links
    for place in map(Path, places):
        for path in _in_folder(place, files) if place.is_dir() else [place]:
            names.setdefault(os.path.abspath(path), str(path))  # noqa: PTH100
    for absolute, name in names.items():
        if fault := _fault(absolute):
            files.faults[name] = fault
        else:
            files.entries[name] = _entry(Path(absolute))
    return files


def _in_folder(folder: Path, files: Files) -> Iterator[Path]:
    try:
        paths = [PurePath(path) for path in list_files(folder).paths]
    except ManifestError as error:
        files.faults[str(folder)] = str(error)
        return
    shown = [path for path in paths if not path.name.startswith(".")]
    chosen = [path for path in shown if is_video(path.name) or is_image(path.name) or path.suffix.lower() in _MORE]
    if not chosen:
        files.faults[str(folder)] = "There is no video and no image in this folder."
    elif len(chosen) < len(paths):
        left = len(paths) - len(chosen)
        files.notes.append(f"{left} files below {folder} are hidden or have no suffix of a video or an image.")
    yield from (folder / path for path in chosen)


def _fault(path: str) -> str | None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return "Its path is not UTF-8: rename it."
    if not Path(path).exists():
        return "There is no such file or folder."
    if not Path(path).is_file():
        return "It is no regular file."
    return None if os.access(path, os.R_OK) else "It may not be read: change its permissions."


def _entry(path: Path) -> VideoEntry:
    digest = sha256(str(path).encode()).hexdigest()[:16]
    return VideoEntry(
        video_id=f"{re.sub('[^A-Za-z0-9_-]', '_', path.stem)[:80]}-{digest}",
        dataset="files",
        method="real",
        label=0,
        quality="native",
        split=SPLIT,
        root=str(path.parent),
        path=path.name,
    )
