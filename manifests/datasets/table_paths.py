"""Makes the paths in a table relative to one root."""

import posixpath
from collections.abc import Iterable

from facemill import ManifestError
from facemill.manifests.archives import split_archive
from facemill.manifests.scanning.listing import one_form
from facemill.manifests.urls import is_url

__all__ = ["TablePaths"]


class TablePaths:
    """Paths relative to the table's folder if all are below it, otherwise to their common parent folder.

    Args:
        base: absolute local folder or fsspec URL that relative paths start from.
        paths: of all videos and masks, relative, absolute, or URLs.

    Attributes:
        root: what `relative` is relative to.

    Raises:
        ManifestError: the paths lie on several file systems.
    """

    def __init__(self, base: str, paths: Iterable[str]) -> None:
        self._base = base.rstrip("/") or "/"
        self.root = self._base
        places = [self._place(path) for path in paths]
        if any(self._below(place) is None for place in places):
            self.root = _common_folder(places)

    def relative(self, path: str) -> str:
        """The normalised path below the root; unchanged if it is not below the root."""
        return self._below(self._place(path)) or path

    def _place(self, path: str) -> str:
        place = path if is_url(path) or path.startswith("/") else f"{self._base}/{path}"
        protocol, mark, rest = place.rpartition("://")
        return one_form(f"{protocol}{mark}{posixpath.normpath(rest)}")

    def _below(self, place: str) -> str | None:
        top = one_form(self.root).rstrip("/") + "/"
        return place.removeprefix(top) if place.startswith(top) else None


def _common_folder(places: list[str]) -> str:
    protocols = {place.rpartition("://")[0] for place in places}
    if len(protocols) > 1 or any("::" in place for place in places):
        raise ManifestError(
            "The table names files on several file systems: scan a table of each, then use `facemill merge`."
        )
    folders = [posixpath.dirname(place.rpartition("://")[2]) for place in places]
    (protocol,) = protocols
    # An archive's members are below its folder, like other files.
    folders = [
        posixpath.dirname(packed[0]) if (packed := split_archive(f"{folder}/x")) else folder for folder in folders
    ]
    return f"{protocol}://{posixpath.commonpath(folders)}" if protocol else posixpath.commonpath(folders)
