"""Reuse of stored detections: the same detector is not run again on a frame that an earlier build processed."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import DatasetError, ManifestError
from facemill.manifests import FrameFaces, VideoEntry, schemas
from facemill.manifests.shards.dataset import FACES_FILE
from facemill.manifests.storage import refuse_special_file

__all__ = ["KnownFaces", "detection_key", "open_faces"]


def detection_key(
    detection: str, video: VideoEntry, video_bytes: int, frame_count: int, *, deinterlaced: bool = False
) -> str:
    """The key of a video's detections: 16 hex digits for the detector and its settings, 16 for the video.

    Args:
        detection: `WorkIdentity.detection`.
        video: identified by its content hash if the manifest has one, else by its id.
    """
    known = [video.content_hash or video.video_id, video_bytes, frame_count, deinterlaced]
    return detection + hashlib.blake2b(json.dumps(known).encode(), digest_size=8).hexdigest()


class KnownFaces:
    """The detections of an earlier build, found by their key.

    The table is scanned once to find the row groups of each key; a look-up then reads only these row groups.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _readable(path):
            self._file = pq.ParquetFile(path, read_dictionary=["key"])
            self._groups: dict[str, list[int]] = defaultdict(list)
            for number in range(self._file.num_row_groups):
                keys = self._file.read_row_group(number, columns=["key"], use_threads=False)["key"]
                for key in pc.unique(keys.cast(pa.string())).to_pylist():
                    self._groups[str(key)].append(number)
        self._last: tuple[int, pa.Table] | None = None  # videos of a shard are mostly in one row group

    @property
    def made_by(self) -> str | None:
        """`WorkIdentity.detection` of the build that made the detections; None if there are none."""
        return next((key[:16] for key in self._groups), None)

    def of(self, key: str) -> dict[int, FrameFaces]:
        """Detections of a key, by frame.

        Raises:
            DatasetError: if they cannot be read.
        """
        found = (self._rows(number).filter(pc.field("key") == key) for number in self._groups.get(key, ()))
        with _readable(self._path):
            return {row.frame_index: row for table in found for row in schemas.from_table(table, FrameFaces)}

    def _rows(self, number: int) -> pa.Table:
        if self._last is None or self._last[0] != number:
            table = self._file.read_row_group(number, use_threads=False)
            self._last = number, schemas.conform(table, schemas.FACES)
        return self._last[1]


def open_faces(folder: Path) -> KnownFaces:
    """Open the detections of an earlier build in `folder`, once per process.

    Raises:
        DatasetError: if there is no readable faces.parquet.
    """
    path = folder / FACES_FILE
    with _readable(path):
        refuse_special_file(path)
        state = path.stat()
    return _open(path, state.st_ino, state.st_mtime_ns)


@lru_cache(maxsize=1)
def _open(path: Path, *state: int) -> KnownFaces:
    return KnownFaces(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, pa.ArrowException, ManifestError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): give --faces the folder of a finished build.") from error
