"""Where a manifest's videos are. The file itself holds no local path, so that it can be shared.

A root below the manifest's own folder is written relative to it (`.` or `./corpus`), a URL as it is, and any other
as a mere name; where that is on this machine stands apart, in `<manifest>.roots.json`, or is told with `--root`.
"""

import json
import os
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path

from facemill import ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.storage import read_json, write_atomically

__all__ = ["check_roots", "locate_roots", "places_file", "store_roots"]


def places_file(manifest: Path) -> Path:
    """The file beside a manifest that says where its named roots are on this machine."""
    return manifest.with_suffix(".roots.json")


def store_roots(roots: Iterable[str], manifest: Path, *, places: bool) -> dict[str, str]:
    """What stands in the manifest for each root.

    Args:
        places: write, too, where the named ones are.
    """
    folder = manifest.absolute().parent
    stored: dict[str, str] = {}
    apart: dict[str, str] = {}
    for root in sorted(roots, key=lambda root: (_is_local(root), root)):  # what is a name already keeps it
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


def locate_roots(stored: Iterable[str], manifest: Path, told: Sequence[str] = ()) -> dict[str, str]:
    """Where each root of a manifest is; a named one that nobody tells stays a name (see `check_roots`).

    Args:
        told: `NAME=DIR`, or `DIR` where the manifest has one root; folders or fsspec URLs.

    Raises:
        ManifestError: what is told fits no root, or the file of places is damaged.
    """
    stored = sorted(stored)
    located = _read_places(manifest)
    folder = manifest.absolute().parent
    located |= {root: str(folder / root) for root in stored if root == "." or root.startswith("./")}
    for word in told:
        name, mark, place = word.partition("=")
        if not mark and len(stored) == 1:
            name, place = stored[0], word
        if name not in stored:
            known = " or ".join(f"{root}=DIR" for root in stored)
            raise ManifestError(f"--root {word} names no root of {manifest}: pass {known}.")
        located[name] = place if "://" in place else os.path.abspath(Path(place).expanduser())  # noqa: PTH100
    return {root: located.get(root, root) for root in stored}


def check_roots(entries: Iterable[VideoEntry]) -> None:
    """Find, before any work, that the folders of the videos are there.

    Raises:
        ManifestError: nobody tells where a root is, or it is no folder here, as when a disk is not mounted.
    """
    for root in sorted({entry.root for entry in entries}):
        if "://" in root:
            continue
        if not Path(root).is_absolute():
            raise ManifestError(f"The manifest does not tell where {root} is on this machine: pass --root {root}=DIR.")
        if not Path(root).is_dir():
            raise ManifestError(f"There is no folder {root}, in which the videos are: mount it, or pass --root DIR.")


def _is_local(root: str) -> bool:
    """Whether it is, or leads through, an absolute path of this machine."""
    return any(link.startswith(("/", "file:", "local:")) for link in root.split("::"))


def _read_places(manifest: Path) -> dict[str, str]:
    path = places_file(manifest)
    if not path.is_file():
        return {}
    try:
        return {name: str(place) for name, place in read_json(path).items()}
    except ValueError as error:
        raise ManifestError(f"{path} cannot be read ({error}): delete it, and pass --root.") from error
