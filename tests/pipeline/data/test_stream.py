"""Streams: complete, disjoint over workers and ranks, shuffled by epoch, balanced."""

import itertools
import pickle
from collections import Counter

import pytest
from torch.utils.data import DataLoader

from facemill import DatasetError
from facemill.pipeline.data import StreamingFaces, collate
from facemill.pipeline.data import stream as stream_module
from tests.pipeline.data.built import build, default_samples, rewrite_shard


def indices(stream: StreamingFaces, workers: int = 0, batch: int = 4) -> list[int]:
    loader = DataLoader(stream, batch_size=batch, num_workers=workers, collate_fn=collate)
    return [index for loaded in loader for index in loaded.index.tolist()]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sample_once_however_many_workers(tar, workers, shuffle):
    order = indices(StreamingFaces(tar, "train", shuffle=shuffle, seed=1), workers)
    assert sorted(order) == list(range(30))
    assert (order == list(range(30))) == (not shuffle and workers < 2)


def test_ranks_and_workers_are_disjoint_and_complete(tar):
    shares = [indices(StreamingFaces(tar, "train", rank=rank, world=2), workers=2) for rank in range(2)]
    assert sorted(itertools.chain(*shares)) == list(range(30))
    assert {len(share) for share in shares} == {15}
    shares = [indices(StreamingFaces(tar, "train", rank=rank, world=4)) for rank in range(4)]
    assert sorted(itertools.chain(*shares)) == list(range(30))
    assert {len(share) for share in shares} == {7, 8}


def test_shuffled_ranks_do_equally_many_steps(tar):
    streams = [StreamingFaces(tar, "train", shuffle=True, rank=rank, world=4) for rank in range(4)]
    seen = set()
    for epoch in range(4):
        for stream in streams:
            stream.set_epoch(epoch)
        shares = [list(stream) for stream in streams]
        epoch_indices = [sample.index for share in shares for sample in share]
        assert [len(share) for share in shares] == [7] * 4
        assert len(set(epoch_indices)) == 28
        seen |= set(epoch_indices)
    assert streams[0].shortest_share(0) == 7
    assert streams[0].shortest_share(2) == 3
    assert seen == set(range(30))


def test_the_order_depends_on_seed_and_epoch_alone(tar):
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        stream = StreamingFaces(tar, "train", shuffle=True, seed=seed)
        stream.set_epoch(epoch)
        return tuple(sample.index for sample in stream)

    first = order(0, 2)
    assert order(0, 2) == first
    assert len({first, order(0, 3), order(1, 2)}) == 3


def test_persistent_workers_hear_of_the_epoch(tar):
    stream = StreamingFaces(tar, "train", shuffle=True)
    loader = DataLoader(stream, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=collate)
    orders = []
    for epoch in (5, 6, 5):
        stream.set_epoch(epoch)
        orders.append([index for batch in loader for index in batch.index.tolist()])
    assert orders[0] == orders[2] != orders[1]


def test_a_buffer_smaller_than_the_stream_still_gives_all(tar, monkeypatch):
    monkeypatch.setattr(stream_module, "SHUFFLE_BUFFER", 5)
    order = [sample.index for sample in StreamingFaces(tar, "train", shuffle=True)]
    assert sorted(order) == list(range(30))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_rarer_class_is_repeated(tar, workers):
    stream = StreamingFaces(tar, "train", balance="oversample", shuffle=True)
    counts = Counter(indices(stream, workers))
    reals = [counts[index] for index in range(30) if stream.labels[index] == 0]
    fakes = [counts[index] for index in range(30) if stream.labels[index] == 1]
    assert fakes == [1] * 18
    assert sum(reals) == 18
    assert set(reals) == {1, 2}


def test_parquet_streams_too(parquet):
    assert [sample.index for sample in StreamingFaces(parquet, "val")] == list(range(12))


def test_it_may_be_pickled(tar):
    stream = pickle.loads(pickle.dumps(StreamingFaces(tar, "val", every=2)))
    assert [sample.index for sample in stream] == list(range(6))


@pytest.mark.parametrize("every", [1, 3])
def test_a_short_shard_is_named(tmp_path, every):
    build(tmp_path, format_name="webdataset")
    rewrite_shard(tmp_path, "train/train-000003.tar", default_samples()[21:23])
    with pytest.raises(DatasetError, match=r"Row \d of .*train-000003.tar is missing"):
        list(StreamingFaces(tmp_path, "train", every=every))


def test_another_sample_is_named(tmp_path):
    build(tmp_path, format_name="webdataset")
    rewrite_shard(tmp_path, "train/train-000003.tar", default_samples()[20:27])
    with pytest.raises(DatasetError, match=r"Row 0 of .*train-000003.tar holds train-3-f000020-t0"):
        list(StreamingFaces(tmp_path, "train"))


def test_a_cut_or_lost_shard_is_named(tmp_path):
    path = build(tmp_path, format_name="webdataset") / "train/train-000002.tar"
    path.write_bytes(path.read_bytes()[:30_000])
    with pytest.raises(DatasetError, match=r"train-000002.tar cannot be read"):
        list(StreamingFaces(tmp_path, "train"))
    path.unlink()
    with pytest.raises(DatasetError, match=r"train-000002.tar cannot be read"):
        list(StreamingFaces(tmp_path, "train"))
