"""WebDataset shards: tar archives of `<key>.json`, `<key>.mask.png` and `<key>.png` (or `.jpg`, `.webp`)."""

import dataclasses
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from facemill import DatasetError, ManifestError
from facemill.manifests.records import SampleRecord
from facemill.manifests.schemas import SAMPLES, from_table
from facemill.manifests.shards.base import EncodedSample, ShardFormat, image_suffix, placed

if TYPE_CHECKING:
    from webdataset import TarWriter

__all__ = ["WebDatasetShards"]

OWNER = "facemill"
PICTURES = ("png", "jpg", "webp")


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
        try:
            with tarfile.open(path, "r:") as tar:
                for key, members in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                    yield _sample(key, {m.name.partition(".")[2]: _content(tar, m) for m in members})
                _check_end(path, tar)
        except (tarfile.TarError, ManifestError, pa.ArrowException, OSError, OverflowError, ValueError) as error:
            raise DatasetError(f"{path.name} cannot be read as a tar of samples ({error}): build it again.") from error


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
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("a sample's JSON is no record")
    if unknown := sorted(values.keys() - set(SAMPLES.names)):
        raise ValueError(f"unknown fields {', '.join(unknown)}")
    [record] = from_table(pa.Table.from_pylist([{"subject_ids": [], **values}], SAMPLES), SampleRecord)
    return record


def _sample(key: str, files: dict[str, bytes]) -> EncodedSample:
    picture = next((suffix for suffix in PICTURES if suffix in files), None)
    if picture is None or set(files) != {"json", "mask.png", picture}:
        raise ValueError(f"sample {key} is made of {', '.join(sorted(files))}")
    return EncodedSample(_from_json(files["json"]), files[picture], files["mask.png"])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise ValueError(f"{member.name} is not a plain file")
    return file.read()


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """Tarfile takes a damaged header for the end of the archive; the true end is a block of zeros."""
    with path.open("rb") as file:
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"damaged header at byte {tar.offset}")
