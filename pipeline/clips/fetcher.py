"""Remote videos: copied to this machine by threads of their own, ahead of the thread that decodes."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from threading import Lock

from facemill import DatasetError, VideoError
from facemill.manifests import ClipGroup, Reason, locate
from facemill.manifests.archives import archive_of
from facemill.manifests.copies import copies_folder
from facemill.manifests.remote import reached
from facemill.manifests.sequences import is_sequence
from facemill.manifests.urls import is_url
from facemill.pipeline.config.recipe import Recipe

__all__ = ["Fetcher", "videos_of"]

AT_ONCE = 8
"""Videos that are copied at the same time."""


class Fetcher(AbstractContextManager["Fetcher"]):
    """Copies of remote videos; its context removes all that are left."""

    def __init__(self) -> None:
        self._resources, self._reading = ExitStack(), Lock()
        self._pool, self._folder = ThreadPoolExecutor(AT_ONCE, "fetch"), Path()
        self._copies: dict[str, Future[Path]] = {}
        self._count = 0

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._resources.close()

    def ahead(self, locations: Iterable[str]) -> None:
        """Begin to copy those that are neither copied nor being copied."""
        for location in locations:
            if location not in self._copies:
                if not self._count:
                    self._folder = self._resources.enter_context(copies_folder())
                self._count += 1
                path = self._folder / str(self._count) / location.partition("::")[0].rpartition("/")[2]
                self._copies[location] = self._pool.submit(self._copy, location, path)

    def take(self, location: str, resources: ExitStack) -> Path:
        """The copy of a video, for as long as `resources`.

        Raises:
            VideoError: it cannot be fetched.
        """
        self.ahead([location])
        path = self._copies.pop(location).result()
        resources.callback(path.unlink)
        return path

    def _copy(self, location: str, path: Path) -> Path:
        path.parent.mkdir()
        # Members of an archive are read through one file object.
        with self._reading if "::" in location else nullcontext():
            try:
                with reached(location) as (filesystem, place):
                    filesystem.get_file(place, str(path))
            except DatasetError as error:
                missing = isinstance(error.__cause__, FileNotFoundError)
                raise VideoError(Reason.MISSING_FILE if missing else Reason.NOT_FETCHED, str(error)) from error
        return path


def videos_of(group: ClipGroup, recipe: Recipe) -> list[str]:
    """Locations of a group's remote videos, the ground-truth masks that are used among them."""
    masks = recipe.mask.source != "difference"
    found = [(video.root, path) for video in group.videos() for path in (video.path, masks and video.mask_path) if path]
    places = [locate(root, path) for root, path in found if is_url(root) and not is_sequence(path)]
    return [place for place in places if archive_of(place) is None]
