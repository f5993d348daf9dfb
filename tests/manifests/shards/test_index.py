"""The places of images in a shard, against what is read from it."""

import dataclasses
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import DatasetError
from facemill.manifests.shards import listing
from facemill.manifests.shards.parquet import PARQUET_SAMPLES
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import make_sample, make_videos

HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x00\xff\x7a\x11WEBP")
PARQUET, TAR = SHARD_FORMATS["parquet"], SHARD_FORMATS["webdataset"]


def bytes_at(path: Path, places: np.ndarray) -> list[bytes]:
    data = path.read_bytes()
    return [data[start : start + length] for start, length in places]


def write(path: Path, count: int, rng: np.random.Generator, shard_format=PARQUET) -> Path:
    """A shard of `count` samples with images of every format and masks, of 0.1 to 60 kB."""
    sample = make_sample(make_videos()[0], 0)
    with shard_format.open_writer(path, "a") as writer:
        for n in range(count):
            image, mask = (head + rng.bytes(rng.integers(100, 60_000)) for head in (HEADS[n % 3], HEADS[0]))
            record = dataclasses.replace(sample.record, sample_id=f"a-{n}")
            writer.write(dataclasses.replace(sample, record=record, image=image, mask=mask))
    return path


@pytest.mark.parametrize("count", [0, 1, 5, 300])  # 300 are two row groups, the first of several pages
@pytest.mark.parametrize("shard_format", [PARQUET, TAR], ids=["parquet", "tar"])
def test_every_image_is_where_it_is_said_to_be(tmp_path, rng, count, shard_format):
    path = write(tmp_path / f"shard{shard_format.suffix}", count, rng, shard_format)
    index, stored = shard_format.index(path), list(shard_format.read(path))
    assert list(index.sample_ids) == [sample.record.sample_id for sample in stored]
    if stored:
        assert sorted(index.places) == ["image", "mask"]
        assert bytes_at(path, index.places["image"]) == [sample.image for sample in stored]
        assert bytes_at(path, index.places["mask"]) == [sample.mask for sample in stored]
    table = listing(path, [sample.record for sample in stored], {})
    for row, sample in zip(table.to_pylist(), stored, strict=True):
        place = row["image"]
        assert path.read_bytes()[place["offset"] :][: place["size"]] == sample.image


def test_rows_without_an_image_have_no_bytes_and_shift_no_others(tmp_path):
    path = tmp_path / "shard.parquet"
    rows = pq.read_table(write(tmp_path / "whole", 20, np.random.default_rng(1))).to_pylist()
    rows[3]["image"] = None
    rows[7]["image"]["bytes"] = None
    rows[8]["image"]["bytes"] = b""
    rows[19]["mask"] = None
    columns = [name for name in PARQUET_SAMPLES.names if name not in ("image", "mask")]
    options = {"compression": "none", "use_dictionary": ["sample_id"], "write_statistics": columns}
    with pq.ParquetWriter(path, PARQUET_SAMPLES, **options) as file:
        file.write_table(pa.Table.from_pylist(rows, PARQUET_SAMPLES), 8)
    for name, places in PARQUET.index(path).places.items():
        assert bytes_at(path, places) == [(row[name] or {}).get("bytes") or b"" for row in rows]


PLAIN = {"compression": "none", "use_dictionary": False, "write_statistics": False}


@pytest.mark.parametrize(
    ("layout", "whole"),
    [
        (PLAIN, True),
        ({**PLAIN, "data_page_version": "2.0"}, True),
        ({**PLAIN, "row_group_size": 7}, True),
        ({**PLAIN, "data_page_size": 1000}, True),
        ({**PLAIN, "write_statistics": True}, False),  # statistics hold images, too
        ({**PLAIN, "compression": "zstd"}, False),
        ({**PLAIN, "use_dictionary": True}, False),
        ({**PLAIN, "column_encoding": {"image.bytes": "DELTA_LENGTH_BYTE_ARRAY"}}, False),
        ({**PLAIN, "column_encoding": {"mask.bytes": "DELTA_BYTE_ARRAY"}}, False),
        ({}, False),
    ],
)
def test_of_other_layouts_only_those_with_whole_images_are_indexed(tmp_path, rng, layout, whole):
    table = pq.read_table(write(tmp_path / "plain", 30, rng)).cast(PARQUET_SAMPLES)
    pq.write_table(table, path := tmp_path / "shard.parquet", **layout)
    index = PARQUET.index(path)
    assert (index is not None) == whole
    for name in ("image", "mask"):
        expected = [image["bytes"] for image in table[name].to_pylist()]
        if index is not None:
            assert bytes_at(path, index.places[name]) == expected
        for row in (0, 6, 29):
            first, images = PARQUET.read_block(path, row)
            assert images[row - first][name] == expected[row]


def test_other_columns_and_damage_are_refused(tmp_path, rng):
    path = write(tmp_path / "shard.parquet", 3, rng)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-100])
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name in ("other", "cut", "empty", "none"):
        with pytest.raises(DatasetError, match=rf"{name}.parquet cannot be read as Parquet"):
            PARQUET.index(tmp_path / f"{name}.parquet")


def test_no_overwritten_byte_before_an_image_gives_another_place(tmp_path, rng):
    path = write(tmp_path / "shard.parquet", 9, rng)
    whole, places = path.read_bytes(), PARQUET.index(path).places["image"]
    for start in range(places[0, 0] - 40, places[0, 0] + 8):  # the page's header, levels, a length and a signature
        path.write_bytes(whole[:start] + b"\xfa" + whole[start + 1 :])
        with suppress(DatasetError):
            if (index := PARQUET.index(path)) is not None:
                assert (index.places["image"][1:] == places[1:]).all()
                assert index.places["image"][0, 0] == places[0, 0]


@pytest.mark.parametrize("cell", ["2", ["2"], {"bytes": "2"}, {"path": "2"}])
@pytest.mark.parametrize(
    "read", [PARQUET.index, lambda path: PARQUET.read_block(path, 0), lambda path: [*PARQUET.read(path)]]
)
def test_a_column_of_no_images_is_an_error(tmp_path, rng, cell, read):
    """Not the end of an iteration: whoever reads the shard would take it for the end of the data."""
    path = write(tmp_path / "a.parquet", 2, rng)
    table = pq.read_table(path)
    column = pa.array([cell, None])
    pq.write_table(table.set_column(table.column_names.index("image"), "image", column), path, compression="none")
    with pytest.raises(DatasetError, match="the column image holds no images"):
        read(path)
