"""Damaged shards in training: every sample of the table in every epoch, or the shard's name in one sentence."""

import dataclasses
import hashlib
import io
import tarfile
import threading
import time
import weakref
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from facemill import DatasetError
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import FaceDataset, FaceLoader, collate
from tests.pipeline.data.built import as_values, build, default_samples
from tests.pipeline.data.test_module import indices, module

LAST = "train/train-000004"
"""Two samples, so that an error is found when the epoch's last, unfilled batch is made."""


def with_members(path: Path, change) -> None:
    """Write a tar anew, from what `change` makes of its list of (name, bytes)."""
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for name, data in change(members):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def rename(members, old: str, new: str):
    return [(name.replace(old, new), data) for name, data in members]


def spoil(members):
    return [(name, data[:60] if name.endswith("-t0.png") else data) for name, data in members]


def swap(members):
    """The images of two samples, each under the name of the other."""
    first, second = [place for place, (name, _) in enumerate(members) if name.endswith("-t0.png")][:2]
    members[first], members[second] = (members[first][0], members[second][1]), (members[second][0], members[first][1])
    return members


DAMAGES = {
    "images swapped": (swap, r"Row \d of .* holds another image"),
    "picture": (spoil, r"Row \d of .* holds another image"),
    "keys": (lambda members: rename(members, "f000040", "f000041"), r"Row \d of .* holds train-4-f000041-t0"),
    "member twice": (lambda members: members[:3] * 2 + members[3:], "has the parts"),
    "no mask": (lambda members: members[:2] + members[3:], "has the parts"),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("located", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_of_a_tar_ends_an_epoch_early(tmp_path, workers, located, damage):
    path = build(tmp_path, format_name="webdataset", located=located) / f"{LAST}.tar"
    change, says = DAMAGES[damage]
    with_members(path, change)
    if damage == "keys" and located:  # names are not read, and every image is in its place: nothing is lost
        settings = TrainSettings(batch=7, balance="none")
        assert len(set(indices(module(tmp_path, settings, workers=workers).train_loader))) == 28
        return
    with pytest.raises(DatasetError, match=says) as error:
        indices(module(tmp_path, TrainSettings(batch=7), workers=workers).train_loader)
    message = str(error.value)
    assert "train-000004.tar" in message
    assert message.count("\n") == 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_shard_cut_or_lost_ends_no_epoch_early(tmp_path, workers, suffix, kept):
    root = build(tmp_path, format_name="webdataset" if suffix == ".tar" else "parquet")
    path = root / f"{LAST}{suffix}"
    if kept:
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        if suffix == ".tar" and kept > 0.9:  # only the padding is gone: nothing is lost
            assert len(indices(module(root, TrainSettings(batch=7), workers=workers).train_loader)) >= 24
            return
    else:
        path.unlink()
    with pytest.raises(DatasetError, match=rf"train-000004\{suffix}"):
        indices(module(root, TrainSettings(batch=7), workers=workers).train_loader)


READERS = {"here": {}, "threads": {"num_workers": 2, "threads": True}, "processes": {"num_workers": 2}}
every_reader = pytest.mark.parametrize("readers", READERS.values(), ids=READERS)


@every_reader
@pytest.mark.parametrize("fields", [["mask", "landmarks", "video_id"], []])
def test_batches_are_those_of_stacked_samples(parquet, readers, fields):
    faces = FaceDataset(parquet, "train", fields=fields)
    order = [29, 3, 3, 0, 17, 29, 4, *range(30)]
    batches = list(FaceLoader(faces, batch_size=5, sampler=order, **readers))
    assert [batch.size for batch in batches] == [5] * 7 + [2]
    for place, batch in enumerate(batches):
        expected = collate(faces.__getitems__(order[5 * place : 5 * place + 5]))
        assert list(batch) == list(expected)
        for name, values in batch.items():
            assert values.dtype == expected[name].dtype
            assert torch.equal(values, expected[name])


@every_reader
def test_a_damaged_sample_is_told_after_the_batches_before_it(tmp_path, readers):
    (build(tmp_path) / f"{LAST}.parquet").unlink()
    batches = iter(FaceLoader(FaceDataset(tmp_path, "train"), batch_size=7, **readers))
    assert [next(batches).index[0].item() for _ in range(4)] == [0, 7, 14, 21]
    with pytest.raises(DatasetError, match=r"^Row 0 of .*train-000004.parquet[^\n]*$"):
        next(batches)


def test_threads_end_with_the_epoch_and_read_no_further_than_they_are_ahead(parquet, monkeypatch):
    faces = FaceDataset(parquet, "train")
    read = []
    monkeypatch.setattr(faces, "batch", lambda indices: read.append(indices) or FaceDataset.batch(faces, indices))
    batches = iter(FaceLoader(faces, batch_size=1, num_workers=2, threads=True))
    first = next(batches)
    assert first.index.tolist() == [0]
    time.sleep(0.2)  # in which two threads would read all
    batches.close()
    assert len(read) <= 5
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("facemill-loading")]


def test_workers_end_with_the_epoch_though_somebody_keeps_the_error(tmp_path, monkeypatch):
    (build(tmp_path) / f"{LAST}.parquet").unlink()
    loader = FaceLoader(FaceDataset(tmp_path, "train"), batch_size=7, num_workers=2, persistent_workers=True)
    made = []
    start = loader._get_iterator
    monkeypatch.setattr(loader, "_get_iterator", lambda: (iterator := start(), made.append(weakref.ref(iterator)))[0])
    with pytest.raises(DatasetError) as kept:
        indices(loader)
    assert [iterator() for iterator in made] == [None]  # which ended its workers
    assert kept.value.__traceback__ is not None  # it refers to the loader
    with pytest.raises(DatasetError):  # which starts anew
        indices(loader)


@pytest.mark.parametrize("located", [True, False])
def test_a_sparse_member_of_a_tar_takes_no_memory(tmp_path, located):
    path = build(tmp_path, format_name="webdataset", located=located) / f"{LAST}.tar"
    with tarfile.open(path) as tar:
        mask = next(member for member in tar if member.name.endswith("mask.png"))
    image = tarfile.TarInfo(mask.name.replace("mask.", ""))
    mask.size = 7 << 30
    with path.open("r+b") as file:
        file.seek(mask.offset)
        file.write(mask.tobuf())
        file.seek(mask.offset_data + mask.size)  # a hole, which takes no disk
        file.write(image.tobuf() + bytes(1024))
    with pytest.raises(DatasetError, match=r"train-000004.tar (is missing|.*more than the)"):
        indices(module(tmp_path).train_loader)


def test_a_picture_of_another_size_is_told_by_its_header(tmp_path, monkeypatch):
    bomb = cv2.imencode(".png", np.zeros((3000, 3000, 3), np.uint8))[1].tobytes()
    samples = default_samples()
    record = dataclasses.replace(samples[28].record, image_sha256=hashlib.sha256(bomb).hexdigest())
    build(tmp_path, [*samples[:28], dataclasses.replace(samples[28], record=record, image=bomb), *samples[29:]])
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("its pixels were decoded"))
    with pytest.raises(DatasetError, match="3000 x 3000 pixels in its image"):
        FaceDataset(tmp_path, "train")[28]


LAYOUTS = {
    "pyarrow's defaults": {},
    "zstd": {"compression": "zstd", "use_dictionary": False},
    "dictionary": {"compression": "none"},
    "second version": {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"},
    "small groups": {"row_group_size": 3},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("located", [True, False])
@pytest.mark.parametrize("fields", [["mask"], []])
def test_parquet_in_another_librarys_layout_reads_the_same(tmp_path, parquet, layout, located, fields):
    build(tmp_path, located=located)
    for path in tmp_path.glob("train/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.select(table.column_names[::-1]), path, **LAYOUTS[layout])
    ours, theirs = (FaceDataset(root, "train", fields=fields) for root in (parquet, tmp_path))
    batch = [29, 3, 0, 17, 4]
    for one, other in zip(ours.__getitems__(batch), theirs.__getitems__(batch), strict=True):
        assert as_values(one) == as_values(other)


def test_large_binary_columns_read_the_same(tmp_path, parquet):
    large = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    build(tmp_path)
    for path in tmp_path.glob("train/*.parquet"):
        table = pq.read_table(path)
        schema = pa.schema([field.with_type(large) if field.name in ("image", "mask") else field
                            for field in table.schema])  # fmt: skip
        pq.write_table(table.cast(schema), path)
    assert as_values(FaceDataset(tmp_path, "train")[11]) == as_values(FaceDataset(parquet, "train")[11])
