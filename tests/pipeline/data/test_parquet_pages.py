"""The places of pictures in a file, against what Arrow reads from it."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import DatasetError
from facemill.manifests.shards.parquet import PARQUET_SAMPLES
from facemill.pipeline.data.parquet_pages import index_shard
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import make_sample
from tests.pipeline.data.built import video


def bytes_at(path: Path, places: np.ndarray) -> list[bytes]:
    data = path.read_bytes()
    return [data[start : start + length] for start, length in places]


def write(path: Path, count: int, sizes: np.random.Generator) -> Path:
    """A shard of `count` samples whose pictures and masks are blobs of 0.1 to 60 kB."""
    sample = make_sample(video("a", 0), 0)
    with SHARD_FORMATS["parquet"].open_writer(path, "a") as writer:
        for n in range(count):
            image, mask = (head + sizes.bytes(sizes.integers(100, 60_000)) for head in (b"\x89PNG", b""))
            record = dataclasses.replace(sample.record, sample_id=f"a-{n}")
            writer.write(dataclasses.replace(sample, record=record, image=image, mask=mask))
    return path


@pytest.mark.parametrize("count", [0, 1, 5, 300])  # 300 are two row groups, the first of several pages
def test_every_picture_is_where_it_is_said_to_be(tmp_path, rng, count):
    path = write(tmp_path / "shard.parquet", count, rng)
    index, table = index_shard(path), pq.read_table(path)
    assert index.sample_ids.to_pylist() == table["sample_id"].to_pylist()
    for name, places in index.places.items():
        assert bytes_at(path, places) == [picture["bytes"] for picture in table[name].to_pylist()]


def test_rows_without_a_picture_have_no_bytes_and_shift_no_others(tmp_path):
    path = tmp_path / "shard.parquet"
    rows = pq.read_table(write(tmp_path / "whole", 20, np.random.default_rng(1))).to_pylist()
    rows[3]["image"] = None
    rows[7]["image"]["bytes"] = None
    rows[19]["mask"] = None
    with pq.ParquetWriter(path, PARQUET_SAMPLES, compression="none", use_dictionary=["sample_id"]) as file:
        file.write_table(pa.Table.from_pylist(rows, PARQUET_SAMPLES), 8)
    index = index_shard(path)
    for name, places in index.places.items():
        assert bytes_at(path, places) == [(row[name] or {}).get("bytes") or b"" for row in rows]


@pytest.mark.parametrize("options", [{"compression": "zstd", "use_dictionary": False}, {"compression": "none"}])
def test_other_layouts_are_refused(tmp_path, rng, options):
    table = pq.read_table(write(tmp_path / "plain", 3, rng)).cast(PARQUET_SAMPLES)
    pq.write_table(table, tmp_path / "shard.parquet", **options)
    with pytest.raises(DatasetError, match="compressed or dictionary-encoded"):
        index_shard(tmp_path / "shard.parquet")


def test_second_version_pages_are_refused(tmp_path, rng):
    table = pq.read_table(write(tmp_path / "plain", 3, rng)).cast(PARQUET_SAMPLES)
    options = {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"}
    pq.write_table(table, tmp_path / "shard.parquet", **options)
    with pytest.raises(DatasetError, match="a page that is not plain"):
        index_shard(tmp_path / "shard.parquet")


def test_other_columns_and_damage_are_refused(tmp_path, rng):
    path = write(tmp_path / "shard.parquet", 3, rng)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-100])
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name in ("other", "cut", "empty", "none"):
        with pytest.raises(DatasetError, match=rf"{name}.parquet cannot be read as a Parquet shard"):
            index_shard(tmp_path / f"{name}.parquet")


def test_overwritten_lengths_and_headers_are_errors(tmp_path, rng):
    path = write(tmp_path / "shard.parquet", 9, rng)
    whole, first = path.read_bytes(), index_shard(path).places["image"][0, 0]
    for start in range(first - 40, first):  # the page's header, its levels and the first value's length
        path.write_bytes(whole[:start] + b"\xfa" + whole[start + 1 :])
        try:
            index = index_shard(path)
        except DatasetError:
            continue
        assert index.places["image"][:, 0].max() + 4 <= len(whole)  # a harmless byte, such as a statistic's
