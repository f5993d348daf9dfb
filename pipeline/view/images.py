"""Encoded crops and masks out of shards, and frames of the source videos, each read when a page asks for it."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import ConfigError, DatasetError, ManifestError, VideoError
from facemill.manifests import REFERENCE, VIDEOS, VideoEntry, from_table
from facemill.manifests.remote import bring
from facemill.manifests.roots import check_roots, locate_roots
from facemill.manifests.schemas import conform
from facemill.manifests.shards import ShardIndex, format_of
from facemill.manifests.shards.base import image_suffix
from facemill.manifests.shards.dataset import VIDEOS_FILE, DatasetInfo, damage_told
from facemill.manifests.storage import refuse_special_file
from facemill.manifests.urls import is_url
from facemill.pipeline.clips.opening import open_frames
from facemill.pipeline.config.recipe import parse_recipe

__all__ = ["ShardImages", "SourceFrames"]

_MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
_MOST_BYTES = 64 << 20
"""Largest image that is read."""
_WIDEST = 1280
"""Pixels to which wider frames are scaled down."""


class ShardImages:
    """Reads images from the shards that dataset.json lists, and from nowhere else. May be used by several threads.

    Raises:
        DatasetError: a shard lies outside the dataset's folder.
    """

    def __init__(self, root: Path, info: DatasetInfo) -> None:
        self._root, self._known = root, {shard.path for shard in info.shards}
        for path in self._known:
            if not (root / path).resolve().is_relative_to(root.resolve()):
                raise DatasetError(f"{root} lists a shard outside its folder ({path}): build the dataset again.")
        self._index = lru_cache(8)(self._locate)
        self._block = lru_cache(2)(lambda path, row: format_of(path).read_block(path, row))

    def read(self, shard: str, row: int, place: tuple[int, int] | None, name: str) -> tuple[bytes, str]:
        """The bytes of an image as they are stored, and their media type.

        Args:
            place: its first byte and size in the shard; None to look for it.
            name: `image` or `mask`.

        Raises:
            DatasetError: the shard is not one of the dataset's, or holds no such image.
        """
        if shard not in self._known:
            raise DatasetError(f"{shard} is no shard of this dataset: build it again.")
        path = bring(self._root / shard)
        try:
            refuse_special_file(path)
            encoded = self._read(path, row, place, name)
        except (OSError, ValueError, LookupError) as error:
            raise DatasetError(f"Row {row} of {path} cannot be read ({error}): see `facemill verify`.") from None
        return encoded, _MEDIA[image_suffix(encoded)]

    def _read(self, path: Path, row: int, place: tuple[int, int] | None, name: str) -> bytes:
        if place is None and (index := self._index(path, path.stat().st_mtime_ns)) is not None:
            offset, size = index.places[name][row].tolist()
            place = offset, size
        if place is None:
            first, block = self._block(path, row)
            return block[row - first][name]
        if not 0 <= place[1] <= _MOST_BYTES:
            raise ValueError(f"an image of {place[1]} bytes")
        with path.open("rb") as file:
            file.seek(place[0])
            return file.read(place[1])

    def _locate(self, path: Path, changed: int) -> ShardIndex | None:
        return format_of(path).index(path)


class SourceFrames:
    """Frames of the videos that a dataset was built from. May be used by several threads; the last video stays open.

    Args:
        root: folder of the dataset.
        roots: where the videos are: see `facemill.manifests.read_videos`.

    Raises:
        ManifestError: a root in `roots` is not one of videos.parquet.
    """

    def __init__(self, root: Path, info: DatasetInfo, roots: Sequence[str] = ()) -> None:
        self._path, self._info, self._lock = root / VIDEOS_FILE, info, Lock()
        self._located: dict[str, str] = {}
        if self._path.is_file():
            stored = {str(name) for name in self._table(["root"])["root"].unique().to_pylist()}
            self._located = locate_roots(stored, self._path, roots)
        self._open: tuple[str, Any] = "", None
        self._resources = ExitStack()

    def entry(self, video_id: str) -> VideoEntry | None:
        """The video's row of videos.parquet; its root is where the videos are here, or only a name."""
        if not self._path.is_file():
            return None
        table = self._table(None, pc.field("video_id") == video_id)
        found = from_table(table, VideoEntry)
        return found[0] if found else None

    def sampled(self) -> "pa.Array[Any]":
        """Ids of the videos that samples were to be made of: all but references."""
        if not self._path.is_file():
            return pa.array([], pa.string())
        ids = self._table(["video_id"], pc.field("split") != REFERENCE)["video_id"]
        return pa.array(ids.to_pylist(), pa.string())

    def jpeg(self, video_id: str, index: int) -> bytes:
        """A frame as JPEG, no wider than 1280 pixels.

        Raises:
            VideoError: the video is not here, or has no such frame; in one sentence.
        """
        with self._lock:
            if self._open[0] != video_id:
                self.close()
                self._open = video_id, self._reader(video_id)
            reader = self._open[1]
            if not 0 <= index < reader.info.frame_count:
                raise VideoError("truncated", f"{video_id} has {reader.info.frame_count} frames: there is no {index}.")
            image = next(iter(reader.read([index]))).image
        if image is None:
            raise VideoError("truncated", f"Frame {index} of {video_id} does not decode.")
        scale = min(1.0, _WIDEST / image.shape[1])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        return cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()

    def close(self) -> None:
        self._open = "", None
        self._resources.close()

    def _reader(self, video_id: str) -> Any:
        entry = self.entry(video_id)
        if entry is None:
            raise VideoError("missing_file", f"videos.parquet does not list {video_id}.")
        root, path = self._located[entry.root], PurePosixPath(entry.path)
        if is_url(root):
            raise VideoError("not_fetched", "The videos are not on this machine: copy them, and pass --root DIR.")
        if path.is_absolute() or ".." in path.parts:
            raise VideoError("missing_file", f"videos.parquet has the path {path}, which is outside its root.")
        try:
            check_roots([replace(entry, root=root)])
            recipe = parse_recipe(self._info.recipe)
        except (ConfigError, ManifestError) as error:
            raise VideoError("missing_file", str(error)) from None
        return open_frames(root, entry.path, recipe, self._resources)

    def _table(self, columns: list[str] | None, rows: pc.Expression | None = None) -> pa.Table:
        with damage_told(self._path):
            table = pq.read_table(self._path, columns=columns, filters=rows)
            return table if columns else conform(table, VIDEOS)
