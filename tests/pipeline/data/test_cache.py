"""The cache of decoded crops: the same tensors, whatever is in its folder."""

import dataclasses
import hashlib
import multiprocessing
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from facemill import ConfigError, DatasetError
from facemill.pipeline.data import FaceDataset, FaceLoader
from facemill.pipeline.data.cache import PixelCache
from facemill.pipeline.data.reader import ImageReader
from facemill.pipeline.data.split import open_split
from tests.manifests.small_dataset import png
from tests.pipeline.data.built import as_values, build, default_samples

ROW = 3 * 64 * 64 + 16
"""Bytes of a crop of 64 x 64 in the cache."""


def values(root, cache=None, **options):
    return [as_values(sample) for sample in FaceDataset(root, "train", cache=cache, **options).__getitems__(range(30))]


@pytest.fixture
def full(tmp_path, parquet):
    """A cache of all training samples."""
    values(parquet, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def shards_read(monkeypatch):
    read, of_shard = [], ImageReader.read
    monkeypatch.setattr(ImageReader, "read", lambda self, index: read.append(index) or of_shard(self, index))
    return read


def test_what_was_read_once_is_read_without_the_shards(full, parquet, shards_read):
    assert values(parquet, full) == values(parquet)
    assert shards_read == [*range(30)]  # of the dataset without a cache
    assert FaceDataset(parquet, "train", cache=full, fields=(), frames=2).batch(range(10)).size == 10
    assert len(shards_read) == 30


def test_other_formats_have_files_of_their_own(full, tar):
    before = len([*full.iterdir()])
    assert values(tar, full) == values(tar, full) == values(tar)
    assert len([*full.iterdir()]) == 2 * before


@pytest.mark.parametrize("fields", [["mask", "landmarks"], []])
@pytest.mark.parametrize("readers", [{}, {"num_workers": 2, "threads": True}, {"num_workers": 2}])
def test_batches_are_equal_byte_for_byte_when_filled_and_when_read(tmp_path, parquet, fields, readers):
    expected = FaceDataset(parquet, "train", fields=fields).batch(range(30))
    for _ in range(2):
        faces = FaceDataset(parquet, "train", fields=fields, cache=tmp_path / "cache")
        batches = list(FaceLoader(faces, batch_size=7, **readers))
        for name, wanted in expected.items():
            assert torch.equal(torch.cat([batch[name] for batch in batches]), wanted)


def test_a_dataset_built_anew_gives_its_own_crops(full, tmp_path):
    samples = default_samples()
    image = png(np.full((64, 64, 3), 77, np.uint8))
    record = dataclasses.replace(samples[9].record, image_sha256=hashlib.sha256(image).hexdigest())
    samples[9] = dataclasses.replace(samples[9], image=image, record=record)
    other = build(tmp_path / "other", samples)
    assert (FaceDataset(other, "train", cache=full)[9]["image"] == 77).all()
    assert values(other, full) == values(other)


def test_a_row_of_another_crop_is_not_used(full, parquet):
    split = open_split(parquet, "train")
    swapped = dataclasses.replace(split, row=split.row[[1, 0, *range(2, 30)]])
    into = {"image": torch.empty(3, 64, 64, dtype=torch.uint8)}
    assert PixelCache(full, split, ["image"]).read(0, into)
    assert not PixelCache(full, swapped, ["image"]).read(0, into)


def test_another_decoder_fills_it_anew(full, parquet, monkeypatch, shards_read):
    monkeypatch.setattr(cv2, "__version__", "next")
    values(parquet, full)
    assert len(shards_read) == 30


DAMAGES = {
    "a pixel": lambda data: data[: ROW + 700] + bytes([data[ROW + 700] ^ 1]) + data[ROW + 701 :],
    "cut in a row": lambda data: data[: ROW + 1000],
    "cut before a digest": lambda data: data[: 2 * ROW - 16],
    "no digest": lambda data: data[: 2 * ROW - 16] + bytes(16) + data[2 * ROW :],
    "nothing": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"not a cache",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_rows_half_written_or_damaged_are_written_again(full, parquet, damage, shards_read):
    expected = values(parquet)
    shards_read.clear()
    for file in full.glob("*.image.u8"):
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert values(parquet, full) == expected
    assert 5 <= len(shards_read) <= 30
    shards_read.clear()
    assert values(parquet, full) == expected
    assert not shards_read


def fill(root, cache, order):
    faces = FaceDataset(root, "train", cache=cache)
    for index in order:
        faces.batch([index, *range(8)])


def test_processes_may_fill_it_at_the_same_time(tmp_path, parquet, shards_read):
    cache = tmp_path / "cache"
    orders = [range(30), range(29, -1, -1), range(15, 30)]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(parquet, cache, order)) for order in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert values(parquet, cache) == values(parquet)
    assert shards_read == [*range(30)]


def test_it_refuses_to_begin_where_there_is_no_space(tmp_path, parquet, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=300_000))
    with pytest.raises(ConfigError, match=r"^The decoded crops take 0.0 GiB, and .*cache has 0.0 GiB: choose another"):
        FaceDataset(parquet, "train", cache=tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=450_000))  # masks of 18 fakes
    assert len(FaceDataset(parquet, "train", cache=tmp_path / "cache")) == 30
    small = FaceDataset(parquet, "train", cache=tmp_path / "cache", frames=2, fields=())
    assert len(small) == 10
    small.batch(range(10))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    assert FaceDataset(parquet, "train", cache=tmp_path / "cache", frames=2, fields=()).batch([1]).size == 1


def test_a_cache_that_cannot_be_written_is_told(tmp_path, parquet):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file cannot hold a cache .*: choose another folder\.$"):
        FaceDataset(parquet, "train", cache=tmp_path / "file")
    faces = FaceDataset(parquet, "train", cache=tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    with pytest.raises(DatasetError, match=r"cache cannot hold more of the cache .*: make space"):
        faces[0]
