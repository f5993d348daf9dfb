"""Locations of a manifest's videos. The manifest itself contains no local path, so that it can be shared.

A root below the manifest's own folder is stored relative to it (`.` or `./corpus`), a URL unchanged, and any other
root as a name; the folder of that name is stored separately, in `<manifest>.roots.json`, or passed with `--root`.
"""

import json
import os
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path

from facemill import ManifestError
from facemill.manifests.archives import is_archive
from facemill.manifests.records import VideoEntry
from facemill.manifests.storage import read_json, write_atomically
from facemill.manifests.urls import is_url

__all__ = ["check_roots", "locate_roots", "places_file", "store_roots"]


def places_file(manifest: Path) -> Path:
    """The file beside a manifest that maps its named roots to folders of this machine."""
    return manifest.with_suffix(".roots.json")


def store_roots(roots: Iterable[str], manifest: Path, *, places: bool) -> dict[str, str]:
    """Return what the manifest stores for each root.

    Args:
        places: also write the file that locates the named roots.
    """
    folder = manifest.absolute().parent
    stored: dict[str, str] = {}
    apart: dict[str, str] = {}
    for root in sorted(roots, key=lambda root: (_is_local(root), root)):  # names come first and stay unchanged
        if not _is_local(root):
            stored[root] = root
        elif Path(root).is_relative_to(folder):
            below = Path(root).relative_to(folder).as_posix()
            stored[root] = "." if below == "." else f"./{below}"
        else:
            name = Path(root).name or "root"
            names = chain([name], (f"{name}-{number}" for number in count(2)))
            stored[root] = next(candidate for candidate in names if candidate not in stored.values())
            apart[stored[root]] = root
    if places and apart:
        write_atomically(places_file(manifest), json.dumps(apart, indent=1).encode())
    return stored


def locate_roots(stored: Iterable[str], manifest: Path, given: Sequence[str] = ()) -> dict[str, str]:
    """Locate each root of a manifest; a named root whose location is unknown stays a name (see `check_roots`).

    Args:
        given: `NAME=DIR`, or `DIR` if the manifest has one root; folders or fsspec URLs.

    Raises:
        ManifestError: a given location matches no root, or the roots file is damaged.
    """
    stored = sorted(stored)
    located = _read_places(manifest)
    folder = manifest.absolute().parent
    located |= {root: str(folder / root) for root in stored if root == "." or root.startswith("./")}
    for word in given:
        name, mark, place = word.partition("=")
        if not mark and len(stored) == 1:
            name, place = stored[0], word
        if name not in stored:
            known = " or ".join(f"{root}=DIR" for root in stored)
            raise ManifestError(f"--root {word} matches no root of {manifest}: pass {known}.")
        located[name] = place if is_url(place) else os.path.abspath(Path(place).expanduser())  # noqa: PTH100
    return {root: located.get(root, root) for root in stored}


def check_roots(entries: Iterable[VideoEntry]) -> None:
    """Check, before any work, that the folders of the videos exist.

    Raises:
        ManifestError: the location of a root is unknown, or is not a folder, for example an unmounted disk.
    """
    for root in sorted({entry.root for entry in entries}):
        if is_url(root):
            continue
        if not Path(root).is_absolute():
            raise ManifestError(f"The manifest does not locate {root} on this machine: pass --root {root}=DIR.")
        if not (Path(root).is_dir() or (is_archive(root) and Path(root).is_file())):
            raise ManifestError(f"The folder {root} of the videos does not exist: mount it, or pass --root DIR.")


def _is_local(root: str) -> bool:
    """Whether it is an absolute local path, or a chained URL that contains one."""
    return any(link.startswith(("/", "file:", "local:")) for link in root.split("::"))


def _read_places(manifest: Path) -> dict[str, str]:
    path = places_file(manifest)
    if not path.is_file():
        return {}
    try:
        return {name: str(place) for name, place in read_json(path).items()}
    except ValueError as error:
        raise ManifestError(f"{path} cannot be read ({error}): delete it, and pass --root.") from error
