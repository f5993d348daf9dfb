"""Random access to samples, in each shard format."""

import pickle

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from facemill import DatasetError
from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.parquet import ParquetShards
from facemill.manifests.shards.webdataset import WebDatasetShards
from facemill.pipeline.data import FaceDataset, collate
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import png, square_mask
from tests.pipeline.data.built import as_values, build, default_samples, rewrite_shard

SHARD = "train/train-000001.parquet"
"""Holds training samples 7 to 13."""


def test_samples_are_the_stored_pixels(root):
    dataset = FaceDataset(root, "train")
    stored = [sample for sample in default_samples() if sample.record.split == "train"]
    assert len(dataset) == len(stored) == 30
    for index in (29, 0, 7, 13, 6):
        sample, record = dataset[index], stored[index].record
        bgr = cv2.imdecode(np.frombuffer(stored[index].image, np.uint8), cv2.IMREAD_COLOR)
        assert sample["image"].dtype == torch.uint8
        assert np.array_equal(sample["image"].numpy(), bgr[..., ::-1].transpose(2, 0, 1))
        forged = record.label == 1 and record.video_id != "train-4"
        assert np.array_equal(sample["mask"].numpy(), square_mask()[None] * forged)
        assert (sample["label"], sample["index"]) == (record.label, index)
        assert sample["has_mask"] == (record.video_id != "train-4")
        assert dataset.samples["sample_id"][index].as_py() == record.sample_id


def test_all_datasets_give_the_same_samples(parquet, root):
    fields = ["mask", "pair", "video_id", "landmarks"]
    ours, theirs = (FaceDataset(one, "train", frames=4, seed=3, fields=fields) for one in (parquet, root))
    assert len(ours) == 20
    assert [as_values(ours[n]) for n in range(20)] == [as_values(theirs[n]) for n in range(20)]
    assert ours.samples.drop_columns(["shard"]).equals(theirs.samples.drop_columns(["shard"]))


def test_places_are_found_once_and_kept(tmp_path, monkeypatch):
    first = FaceDataset(build(tmp_path, located=False), "train")
    assert (tmp_path / "_state/places-train.parquet").is_file()
    for kind in (ParquetShards, WebDatasetShards):
        monkeypatch.setattr(kind, "index", lambda *_: pytest.fail("a shard was indexed again"))
    assert as_values(FaceDataset(tmp_path, "train")[17]) == as_values(first[17])


def test_places_of_another_build_are_not_used(tmp_path):
    FaceDataset(build(tmp_path, located=False), "train")
    build(tmp_path, default_samples()[6:], located=False)
    stored = default_samples()[6 + 20]
    assert FaceDataset(tmp_path, "train").samples["sample_id"][20].as_py() == stored.record.sample_id
    pixels = cv2.imdecode(np.frombuffer(stored.image, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(FaceDataset(tmp_path, "train")[20]["image"].permute(1, 2, 0).numpy(), pixels)


def test_batches_come_in_the_order_asked(root):
    dataset = FaceDataset(root, "train")
    assert [sample["index"] for sample in dataset.__getitems__([20, 3, 20, 0])] == [20, 3, 20, 0]


@pytest.mark.parametrize("index", [-1, 30])
def test_there_are_no_other_indices(parquet, index):
    with pytest.raises(IndexError, match="has 30"):
        FaceDataset(parquet, "train")[index]


def test_without_masks(parquet):
    assert sorted(FaceDataset(parquet, "train", fields=())[6]) == ["image", "index", "label"]


def test_it_may_be_pickled_after_use(parquet):
    dataset = FaceDataset(parquet, "train", frames=3)
    used = as_values(dataset[5])
    assert as_values(pickle.loads(pickle.dumps(dataset))[5]) == used


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_stacked_batches(parquet, workers):
    dataset = FaceDataset(parquet, "train")
    loader = DataLoader(dataset, batch_size=8, num_workers=workers, collate_fn=collate)
    batches = list(loader)
    assert [batch.size for batch in batches] == [8, 8, 8, 6]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(30))
    last = batches[-1]
    assert last.images.shape == (6, 3, 64, 64)
    assert last.masks.shape == (6, 1, 64, 64)
    assert (last.labels.dtype, last.has_mask.dtype) == (torch.int64, torch.bool)
    assert not last.has_mask.any()
    assert torch.equal(last.images[2], dataset[26]["image"])
    assert torch.equal(last.to("cpu").labels, last.labels)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_default_collate_stacks_fields(parquet, workers):
    dataset = FaceDataset(str(parquet), "train")
    batch = list(DataLoader(dataset, batch_size=8, num_workers=workers))[-1]
    assert batch["image"].shape == (6, 3, 64, 64)
    assert batch["mask"].shape == (6, 1, 64, 64)
    assert (batch["label"].dtype, batch["has_mask"].dtype) == (torch.int64, torch.bool)
    assert batch["index"].tolist() == [24, 25, 26, 27, 28, 29]
    assert torch.equal(batch["image"][2], dataset[26]["image"])


def test_the_transform_is_applied_to_each_image_and_nothing_else(parquet):
    seen = []

    def transform(image):
        seen.append((image.dtype, tuple(image.shape)))
        image //= 2  # in place: the sample is not read again for its second use
        return image.float() + len(seen)

    plain, changed = FaceDataset(parquet, "train")[6], FaceDataset(parquet, "train", transform=transform)
    first, second = changed.__getitems__([6, 6])
    assert seen == [(torch.uint8, (3, 64, 64))] * 2
    assert torch.equal(first["image"], (plain["image"] // 2).float() + 1)
    assert torch.equal(second["image"], (plain["image"] // 2).float() + 2)
    assert torch.equal(first["mask"], plain["mask"])
    assert torch.equal(changed[6]["image"], (plain["image"] // 2).float() + 3)


def damaged(root, index: int, format_name: str = "parquet", image: bytes | None = None, mask: bytes | None = None):
    """The dataset with another picture or mask for a training sample of `SHARD`."""
    samples = default_samples()[:14]
    old = samples[index]
    samples[index] = EncodedSample(
        old.record, old.image if image is None else image, old.mask if mask is None else mask
    )
    shard = SHARD.replace(".parquet", SHARD_FORMATS[format_name].suffix)
    rewrite_shard(build(root, format_name=format_name), shard, samples[7:])
    return FaceDataset(root, "train")


WHOLE = default_samples()[9].image


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"image": WHOLE[:-2000]}, "holds another image than samples.parquet states"),
        ({"image": WHOLE[:3000] + b"\xaa" + WHOLE[3001:]}, "holds another image than samples.parquet states"),
        ({"image": png(np.zeros((64, 64, 3), np.uint8))}, "holds another image than samples.parquet states"),
        ({"mask": b""}, "has no mask that can be decoded"),
        ({"mask": b"\x89PNG\r\n\x1a\nno picture"}, "has no mask that can be decoded"),
        ({"mask": png(square_mask(32))}, "has 32 x 32 pixels in its mask"),
    ],
)
@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
def test_a_corrupt_row_is_named(tmp_path, parts, what, format_name):
    dataset = damaged(tmp_path, 9, format_name, **parts)
    assert dataset[8]["index"] == 8
    assert dataset[10]["index"] == 10
    with pytest.raises(DatasetError, match=rf"^Row 2 of .*train-000001\.\w+ {what}"):
        dataset[9]


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
def test_a_shard_written_anew_with_the_same_samples_reads_the_same(tmp_path, format_name):
    before = FaceDataset(build(tmp_path, format_name=format_name), "train")
    expected = [as_values(before[index]) for index in range(7, 14)]
    shard = SHARD.replace(".parquet", SHARD_FORMATS[format_name].suffix)
    rewrite_shard(tmp_path, shard, [with_larger_mask(sample) for sample in default_samples()[7:14]])
    after = FaceDataset(tmp_path, "train")
    assert [as_values(after[index]) for index in (13, 7)] == [expected[6], expected[0]]
    assert [as_values(after[index]) for index in range(7, 14)] == expected


def with_larger_mask(sample: EncodedSample) -> EncodedSample:
    """The same pixels in more bytes, so that everything behind moves."""
    pixels = cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_GRAYSCALE)
    encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    assert len(encoded) > len(sample.mask)
    return EncodedSample(sample.record, sample.image, encoded)


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
@pytest.mark.parametrize("located", [True, False])
def test_another_samples_row_is_named(tmp_path, format_name, located):
    samples = default_samples()[7:14]
    shard = SHARD.replace(".parquet", SHARD_FORMATS[format_name].suffix)
    build(tmp_path, format_name=format_name, located=located)
    rewrite_shard(tmp_path, shard, [samples[1], samples[0], *samples[2:]])
    with pytest.raises(DatasetError, match=rf"Row 0 of .*{shard} holds train-1-f000020-t0, but .* has train-1-f0000"):
        FaceDataset(tmp_path, "train")[7]


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
@pytest.mark.parametrize("located", [True, False])
def test_a_row_beyond_the_end_is_named(tmp_path, format_name, located):
    shard = SHARD.replace(".parquet", SHARD_FORMATS[format_name].suffix)
    build(tmp_path, format_name=format_name, located=located)
    rewrite_shard(tmp_path, shard, default_samples()[7:11])
    dataset = FaceDataset(tmp_path, "train")
    assert dataset[10]["index"] == 10
    with pytest.raises(DatasetError, match=rf"Row 4 of .*{shard} is missing"):
        dataset[11]


def test_a_row_beyond_the_end_of_a_compressed_shard_is_named(tmp_path):
    """Whole row groups of it are read, as its images have no places."""
    build(tmp_path)
    rewrite_shard(tmp_path, SHARD, default_samples()[7:11])
    path = tmp_path / SHARD
    pq.write_table(pq.read_table(path), path, compression="zstd", use_dictionary=False)
    dataset = FaceDataset(tmp_path, "train")
    assert dataset[10]["index"] == 10
    with pytest.raises(DatasetError, match=rf"Row 4 of .*{SHARD} is missing"):
        dataset[11]


def test_errors_reach_the_caller_from_workers(tmp_path):
    dataset = damaged(tmp_path, 9, mask=b"")
    with pytest.raises(DatasetError, match=r"Row 2 of .*train-000001.parquet"):
        list(DataLoader(dataset, batch_size=8, num_workers=2, collate_fn=collate))
