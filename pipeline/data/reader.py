"""Reading of the encoded images of samples, from shards of any format."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from facemill import DatasetError
from facemill.manifests.checks.bounded import most_bytes
from facemill.manifests.remote import RemoteShard, bring, remote_shard
from facemill.manifests.shards import EncodedImages, ShardIndex, format_of
from facemill.manifests.storage import refuse_special_file
from facemill.pipeline.data.places import other_sample
from facemill.pipeline.data.split import Split

__all__ = ["ImageReader"]


class ImageReader:
    """Reads the images of single samples: one read each, at the place that samples.parquet gives.

    A shard whose size or whose crops differ from what is recorded has been written anew, perhaps by another library:
    it is indexed again. After that, every crop must have its hash. Shards that do not hold their images in one piece
    (compressed ones) are read by blocks, the last of which is kept.

    No file is kept open, so that a reader can be pickled, forked and spawned.
    """

    def __init__(self, split: Split, names: Sequence[str]) -> None:
        self._split, self._names = split, tuple(names)
        self._hashes = split.samples["image_sha256"].combine_chunks()
        self._most = most_bytes(split.size)
        self._indexed: dict[Path, ShardIndex | None] = {}
        self._seen: set[Path] = set()
        self._remote: dict[Path, RemoteShard] = {}
        self._block = _NO_BLOCK

    def read(self, index: int) -> EncodedImages:
        """Read the requested images of a sample; empty bytes for one that the shard lacks.

        Raises:
            DatasetError: naming shard and row, if the sample is missing, damaged or a different one.
        """
        path = self._split.shards[self._split.shard[index]]
        try:
            if path not in self._seen:
                self._open(path, self._split.bytes[self._split.shard[index]])
            encoded = self._read(path, index)
            right = self._is_right(index, encoded)
            if not right and path not in self._indexed:
                self._indexed[path] = format_of(path).index(self._here(path))
                encoded = self._read(path, index)
                right = self._is_right(index, encoded)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(
                f"{self._split.place(index)} cannot be read ({error}): build the dataset again."
            ) from error
        if not right:
            raise DatasetError(
                f"{self._split.place(index)} holds another image than samples.parquet states: see `facemill verify`."
            )
        return encoded

    def _open(self, path: Path, size: int) -> None:
        refuse_special_file(path)
        if (remote := remote_shard(path)) is not None:
            self._remote[path] = remote
        if (path.stat().st_size if remote is None else remote.size()) != size:
            self._indexed[path] = format_of(path).index(self._here(path))
        self._seen.add(path)

    def _here(self, path: Path) -> Path:
        """A shard's path; from now on it is read there, also if it has been behind a URL."""
        self._remote.pop(path, None)
        return bring(path)

    def _is_right(self, index: int, encoded: EncodedImages) -> bool:
        return bool(hashlib.sha256(encoded["image"]).hexdigest() == self._hashes[index].as_py())

    def _read(self, path: Path, index: int) -> EncodedImages:
        row = int(self._split.row[index])
        if path not in self._indexed:
            places = {name: self._split.places[name][index] for name in self._names}
        elif (found := self._indexed[path]) is not None:
            if row >= len(found.sample_ids):
                raise self._missing(index)
            if (there := found.sample_ids[row]) != (expected := self._split.sample_ids[index].as_py()):
                raise other_sample(self._split.place(index), there, expected)
            places = {name: found.places[name][row] for name in self._names}
        else:
            return self._read_from_block(path, index, row)
        sizes = [int(size) for _, size in places.values()]
        if min(sizes) < 0:
            return self._read_from_block(path, index, row)
        if max(sizes) > self._most:
            raise DatasetError(
                f"{self._split.place(index)} has an image of {max(sizes)} bytes, more than the {self._most} that it "
                "can need: see `facemill verify`."
            )
        pieces = {name: (int(offset), int(size)) for name, (offset, size) in places.items()}
        if path in self._remote:
            return self._remote[path].read(pieces)
        file = os.open(path, os.O_RDONLY)
        try:
            return {name: os.pread(file, size, offset) for name, (offset, size) in pieces.items()}
        finally:
            os.close(file)

    def _read_from_block(self, path: Path, index: int, row: int) -> EncodedImages:
        held, first, rows = self._block
        if held != path or not first <= row < first + len(rows):
            first, rows = format_of(path).read_block(self._here(path), row)
            self._block = path, first, rows
        if not first <= row < first + len(rows):
            raise self._missing(index)
        return {name: rows[row - first].get(name, b"") for name in self._names}

    def _missing(self, index: int) -> DatasetError:
        return DatasetError(f"{self._split.place(index)} is missing, the shard ends before it: build it again.")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexed": {}, "_seen": set(), "_remote": {}, "_block": _NO_BLOCK}


_NO_BLOCK: tuple[Path | None, int, list[EncodedImages]] = (None, 0, [])
