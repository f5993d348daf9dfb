"""WebDataset shards: tar archives of `<key>.json`, `<key>.mask.png` and `<key>.png` (or `.jpg`, `.webp`).

Image annotations are stored beside them, as `<key>.<name>.png`. Parts of a sample are sorted by name.
"""

import dataclasses
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

import numpy as np
import pyarrow as pa

from facemill import DatasetError, ManifestError
from facemill.manifests.annotations import Annotations, samples_schema
from facemill.manifests.checks.bounded import CELL_BYTES, most_bytes
from facemill.manifests.records import SampleRecord
from facemill.manifests.schemas import ADDED, SAMPLES, from_table
from facemill.manifests.shards.base import (
    NO_ANNOTATIONS,
    EncodedSample,
    Places,
    ShardFormat,
    ShardIndex,
    image_suffix,
    placed,
)
from facemill.manifests.storage import refuse_special_file

if TYPE_CHECKING:
    from webdataset import TarWriter

__all__ = ["WebDatasetShards"]

OWNER = "facemill"
MODE = 0o444
IMAGE_SUFFIXES = ("png", "jpg", "webp")
ALWAYS = ("json", "mask.png")
"""Parts of every sample besides the crop; image annotations are additional parts."""
ANNOTATED = re.compile(r"([a-z][a-z0-9_]*)\.png")
"""Name of a part that is an annotation."""

Parts = Mapping[str, tarfile.TarInfo]
"""Members of a sample, by the part of their names after the key."""
Made = TypeVar("Made")


class WebDatasetShards(ShardFormat):
    """`.tar`, byte-reproducible: no timestamps, a fixed owner and mode, files in a fixed order."""

    name = "webdataset"
    suffix = ".tar"

    @contextmanager
    def open_writer(
        self, path: Path, shard: str, annotations: Annotations = NO_ANNOTATIONS
    ) -> Iterator["_TarShardWriter"]:
        from webdataset import TarWriter  # here, because importing webdataset imports torch

        # PAX, because the older USTAR cannot hold names of more than 100 bytes.
        with (
            path.open("wb") as file,
            TarWriter(file, user=OWNER, group=OWNER, mtime=0, encoder=False, format="PAX_FORMAT") as tar,
        ):
            yield _TarShardWriter(tar, shard, samples_schema(annotations))

    def read(self, path: Path) -> Iterator[EncodedSample]:
        return _samples(path, _sample)

    def index(self, path: Path) -> ShardIndex:
        found = list(_samples(path, lambda _, key, parts: (key, _images(parts))))
        names = dict.fromkeys(name for _, members in found for name in members)
        return ShardIndex([key for key, _ in found], {name: _places(name, [m for _, m in found]) for name in names})

    def layout_faults(self, path: Path) -> Iterator[str]:
        with tarfile.open(path, "r:") as tar, path.open("rb") as file:
            members = tar.getmembers()
            first = members[0].name.partition(".")[0] if members else ""
            order = sorted(m.name.partition(".")[2] for m in members if m.name.partition(".")[0] == first)
            for position, member in enumerate(members):
                expected = order[position % len(order)]
                if member.name.partition(".")[2] != expected:
                    yield f"{member.name} is in the place of a .{expected}"
                if (about := (member.uname, member.gname, member.mode, member.mtime)) != (OWNER, OWNER, MODE, 0):
                    yield f"{member.name} has the owner, group, mode and time {about}, not {(OWNER, OWNER, MODE, 0)}"
            file.seek(tar.offset)
            while block := file.read(1 << 20):
                if block.count(0) != len(block):
                    yield "something follows the end of the archive"
                    return


class _TarShardWriter:
    def __init__(self, tar: "TarWriter", shard: str, schema: pa.Schema) -> None:
        self._tar = tar
        self._shard = shard
        self._schema = schema
        self._rows = 0

    def write(self, sample: EncodedSample) -> SampleRecord:
        record = placed(sample, self._shard, self._rows, self._schema)
        self._rows += 1
        self._tar.write(
            {
                "__key__": record.sample_id,
                "json": _to_json(record),
                "mask.png": sample.mask,
                **{f"{name}.png": sample.images[name] for name in sorted(sample.images)},
                image_suffix(sample.image).removeprefix("."): sample.image,
            }
        )
        return record


def _to_json(record: SampleRecord) -> bytes:
    # Empty fields are omitted: `datasets` infers a shard's types from its first five samples, and would
    # reject a string in a column that was null until then (`source_id` of reals, before the first fake).
    values = dataclasses.asdict(record)
    values |= values.pop("annotations")
    values = {name: value for name, value in values.items() if value not in (None, ())}
    return json.dumps(values, allow_nan=False).encode()


def _from_json(text: bytes) -> SampleRecord:
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("a sample's JSON is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("a sample's JSON is not a record")
    more = {name: values.pop(name) for name in values.keys() - set(SAMPLES.names)}
    values = {**ADDED, "subject_ids": [], "attributes": [], **values}
    [record] = from_table(pa.Table.from_pylist([values], SAMPLES), SampleRecord)
    if odd := sorted(name for name, value in more.items() if not isinstance(value, int | float | str | list)):
        raise ValueError(f"invalid values of {', '.join(odd)}")
    annotations = {name: tuple(value) if isinstance(value, list) else value for name, value in more.items()}
    return dataclasses.replace(record, annotations=annotations)


def _samples(path: Path, make: Callable[[tarfile.TarFile, str, Parts], Made]) -> Iterator[Made]:
    """Call `make` with the key and the members of each sample of an archive, and yield the results."""
    try:
        refuse_special_file(path)
        with tarfile.open(path, "r:") as tar:
            keys: set[str] = set()
            for key, grouped in groupby(tar, key=lambda member: member.name.partition(".")[0]):
                members = list(grouped)
                parts = {member.name.partition(".")[2]: member for member in members}
                image = next((suffix for suffix in IMAGE_SUFFIXES if suffix in parts), None)
                others = parts.keys() - {*ALWAYS, image}
                if (
                    len(parts) != len(others) + 3
                    or len(members) != len(parts)
                    or not all(map(ANNOTATED.fullmatch, others))
                ):
                    raise ValueError(f"sample {key} has the parts {', '.join(member.name for member in members)}")
                if key in keys:
                    raise ValueError(f"sample {key} appears twice")
                keys.add(key)
                yield make(tar, key, parts)
            _check_end(path, tar)
    except (tarfile.TarError, ManifestError, pa.ArrowException, OSError, OverflowError, ValueError) as error:
        raise DatasetError(f"{path.name} cannot be read as a tar of samples ({error}): build it again.") from error


def _places(name: str, samples: Sequence[Mapping[str, tarfile.TarInfo]]) -> Places:
    there = ((members[name].offset_data, members[name].size) if name in members else (0, 0) for members in samples)
    return np.array(list(there), np.int64)


def _sample(tar: tarfile.TarFile, key: str, parts: Parts) -> EncodedSample:
    record = _from_json(_content(tar, parts["json"], CELL_BYTES))
    if record.sample_id != key:
        raise ValueError(f"sample {key} has the sample_id {record.sample_id}")
    members = _images(parts)
    image, mask, *more = (_content(tar, member, most_bytes(record.crop_size)) for member in members.values())
    return EncodedSample(record, image, mask, dict(zip(list(members)[2:], more, strict=True)))


def _images(parts: Parts) -> dict[str, tarfile.TarInfo]:
    """The members that hold a sample's images: `image`, `mask`, then its annotations; all must be plain files."""
    image = next(suffix for suffix in IMAGE_SUFFIXES if suffix in parts)
    more = {match[1]: parts[part] for part in parts if part not in ALWAYS and (match := ANNOTATED.fullmatch(part))}
    return {"image": _plain(parts[image]), "mask": _plain(parts["mask.png"]), **{n: _plain(m) for n, m in more.items()}}


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    if not member.isreg() or member.issparse():
        raise ValueError(f"{member.name} is not a plain file")
    return member


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    if member.size > most:
        raise ValueError(f"{member.name} has {member.size} bytes, more than the {most} that it can need")
    return cast(IO[bytes], tar.extractfile(_plain(member))).read()


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """Check that the archive ends in a block of zeros: tarfile treats a damaged header as the end."""
    with path.open("rb") as file:
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"damaged header at byte {tar.offset}")
