"""WebDataset shards: tar archives of `<key>.json`, `<key>.mask.png` and `<key>.png` (or `.jpg`, `.webp`)."""

import dataclasses
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from facemill import DatasetError, ManifestError
from facemill.manifests.checks.bounded import CELL_BYTES, most_bytes
from facemill.manifests.records import SampleRecord
from facemill.manifests.schemas import ADDED, SAMPLES, from_table
from facemill.manifests.shards.base import EncodedSample, ShardFormat, image_suffix, placed
from facemill.manifests.storage import refuse_special_file

if TYPE_CHECKING:
    from webdataset import TarWriter

__all__ = ["WebDatasetShards"]

OWNER = "facemill"
MODE = 0o444
PICTURES = ("png", "jpg", "webp")
ORDER = (("json",), ("mask.png",), PICTURES)
"""Parts of a sample, as they follow each other."""

Parts = Mapping[str, tarfile.TarInfo]
"""Members of a sample by what follows the key in their names."""
Made = TypeVar("Made")


class WebDatasetShards(ShardFormat):
    """`.tar`, byte-reproducible: no times, one owner, one mode, files in a fixed order."""

    name = "webdataset"
    suffix = ".tar"

    @contextmanager
    def open_writer(self, path: Path, shard: str) -> Iterator["_TarShardWriter"]:
        from webdataset import TarWriter  # here, because importing webdataset imports torch

        # PAX, because the older USTAR cannot hold names of more than 100 bytes.
        with (
            path.open("wb") as file,
            TarWriter(file, user=OWNER, group=OWNER, mtime=0, encoder=False, format="PAX_FORMAT") as tar,
        ):
            yield _TarShardWriter(tar, shard)

    def read(self, path: Path) -> Iterator[EncodedSample]:
        return _samples(path, _sample)

    @staticmethod
    def read_pictures(path: Path, side: int) -> Iterator[tuple[str, bytes, bytes]]:
        """Key, encoded image and encoded mask of each sample, in the order written.

        Making and checking a record of each sample's JSON takes as long as decoding its image: it is left out.

        Args:
            side: of the crops, pixels; nothing larger than such a crop can need is read.

        Raises:
            DatasetError: as `read` does.
        """
        return _samples(path, lambda tar, key, parts: (key, *_pictures(tar, parts, side)))

    def layout_faults(self, path: Path) -> Iterator[str]:
        with tarfile.open(path, "r:") as tar, path.open("rb") as file:
            for position, member in enumerate(tar):
                expected = ORDER[position % len(ORDER)]
                if member.name.partition(".")[2] not in expected:
                    yield f"{member.name} stands where a .{expected[0]} should"
                if (about := (member.uname, member.gname, member.mode, member.mtime)) != (OWNER, OWNER, MODE, 0):
                    yield f"{member.name} has the owner, group, mode and time {about}, not {(OWNER, OWNER, MODE, 0)}"
            file.seek(tar.offset)
            while block := file.read(1 << 20):
                if block.count(0) != len(block):
                    yield "something follows the end of the archive"
                    return


class _TarShardWriter:
    def __init__(self, tar: "TarWriter", shard: str) -> None:
        self._tar = tar
        self._shard = shard
        self._rows = 0

    def write(self, sample: EncodedSample) -> SampleRecord:
        record = placed(sample, self._shard, self._rows)
        self._rows += 1
        self._tar.write(
            {
                "__key__": record.sample_id,
                "json": _to_json(record),
                "mask.png": sample.mask,
                image_suffix(sample.image).removeprefix("."): sample.image,
            }
        )
        return record


def _to_json(record: SampleRecord) -> bytes:
    # Empty fields are left out: `datasets` takes a shard's types from its first five samples, and would
    # refuse a string in a column that was null until then (a real's `source_id`, before the first fake).
    values = {name: value for name, value in dataclasses.asdict(record).items() if value not in (None, ())}
    return json.dumps(values, allow_nan=False).encode()


def _from_json(text: bytes) -> SampleRecord:
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("a sample's JSON is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("a sample's JSON is no record")
    if unknown := sorted(values.keys() - set(SAMPLES.names)):
        raise ValueError(f"unknown fields {', '.join(unknown)}")
    values = {**ADDED, "subject_ids": [], **values}
    [record] = from_table(pa.Table.from_pylist([values], SAMPLES), SampleRecord)
    return record


def _samples(path: Path, make: Callable[[tarfile.TarFile, str, Parts], Made]) -> Iterator[Made]:
    """What `make` gives for each sample of an archive, told its key and its members."""
    try:
        refuse_special_file(path)
        with tarfile.open(path, "r:") as tar:
            keys: set[str] = set()
            for key, grouped in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                members = list(grouped)
                parts = {member.name.partition(".")[2]: member for member in members}
                picture = next((suffix for suffix in PICTURES if suffix in parts), None)
                if set(parts) != {"json", "mask.png", picture} or len(members) != len(parts):
                    raise ValueError(f"sample {key} is made of {', '.join(member.name for member in members)}")
                if key in keys:
                    raise ValueError(f"sample {key} comes twice")
                keys.add(key)
                yield make(tar, key, parts)
            _check_end(path, tar)
    except (tarfile.TarError, ManifestError, pa.ArrowException, OSError, OverflowError, ValueError) as error:
        raise DatasetError(f"{path.name} cannot be read as a tar of samples ({error}): build it again.") from error


def _sample(tar: tarfile.TarFile, key: str, parts: Parts) -> EncodedSample:
    record = _from_json(_content(tar, parts["json"], CELL_BYTES))
    if record.sample_id != key:
        raise ValueError(f"sample {key} calls itself {record.sample_id}")
    return EncodedSample(record, *_pictures(tar, parts, record.crop_size))


def _pictures(tar: tarfile.TarFile, parts: Parts, side: int) -> tuple[bytes, bytes]:
    image = next(suffix for suffix in PICTURES if suffix in parts)
    return _content(tar, parts[image], most_bytes(side)), _content(tar, parts["mask.png"], most_bytes(side))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    file = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if file is None:
        raise ValueError(f"{member.name} is not a plain file")
    if member.size > most:
        raise ValueError(f"{member.name} has {member.size} bytes, more than the {most} that it can need")
    return file.read()


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """Tarfile takes a damaged header for the end of the archive; the true end is a block of zeros."""
    with path.open("rb") as file:
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"damaged header at byte {tar.offset}")
