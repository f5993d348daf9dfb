"""Batches of pairs, groups and videos: nothing separated, nothing lost, balanced, the same on all ranks."""

import dataclasses
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from facemill import ConfigError
from facemill.options import Options
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import FaceDataset, TrainingData
from facemill.pipeline.data.batching import Batching, BatchSampler, Groups, Pairs, Units
from facemill.registry import BATCHINGS
from tests.pipeline.data.built import build, samples_of, video

FRAMES = range(0, 60, 10)


def fake_of(real: str, name: str):
    return dataclasses.replace(video(name, 1), source_id=real)


def shifted(sample, frames: int):
    """A fake's crop, some frames later than the original's."""
    record = dataclasses.replace(
        sample.record,
        sample_id=f"{sample.record.video_id}-f{sample.record.frame_index + frames:06d}-t0",
        frame_index=sample.record.frame_index + frames,
        pair_offset=frames,
    )
    return dataclasses.replace(sample, record=record)


def second_face(sample):
    record = dataclasses.replace(sample.record, sample_id=f"{sample.record.sample_id[:-1]}1", track_id=1)
    return dataclasses.replace(sample, record=record)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two reals, one with three fakes (one of them late, one with half the frames), the other with one, of two
    faces in one frame; a lone real of
    two crops, and a lone fake of one."""
    late = [shifted(sample, 3) for sample in samples_of([fake_of("r0", "f1")], FRAMES)]
    samples = [
        *samples_of([video("r0", 0), fake_of("r0", "f0")], FRAMES),
        *late,
        *samples_of([fake_of("r0", "f2")], FRAMES[:3]),
        *samples_of([video("r1", 0), fake_of("r1", "f3")], FRAMES),
        *map(second_face, samples_of([video("r1", 0), fake_of("r1", "f3")], FRAMES[:1])),
        *samples_of([video("r2", 0)], FRAMES[:2]),
        *samples_of([video("f4", 1)], FRAMES[:1]),
        *samples_of([video("v0", 0, "val"), video("v1", 1, "val")], FRAMES[:1]),
    ]
    return build(tmp_path_factory.mktemp("groups"), samples)


@pytest.fixture(scope="module")
def faces(root):
    return FaceDataset(root, "train")


def names(faces, indices) -> list[tuple[str, float]]:
    """Video, and frame of the original; plus a half for the second face in it."""
    rows = faces.samples.take(indices).to_pylist()
    return [(row["video_id"], row["frame_index"] - (row["pair_offset"] or 0) + row["track_id"] / 2) for row in rows]


def batches(faces, by, batch=8, epoch=0, balance="oversample", **options) -> list[list[int]]:
    batching = BATCHINGS[by]({})
    batching.start(faces.samples, faces.labels, batch, balance)
    sampler = BatchSampler(batching, **options)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    assert all(0 < len(one) <= batch for one in found)
    return found


def test_pairs_are_of_one_face_and_frame(faces):
    pairs = faces.pairs()
    assert len(pairs) == 6 + 6 + 3 + 6 + 1
    assert (faces.labels[pairs] == [0, 1]).all()
    for real, fake in zip(names(faces, pairs[:, 0]), names(faces, pairs[:, 1]), strict=True):
        assert real == ({"f0": "r0", "f1": "r0", "f2": "r0", "f3": "r1"}[fake[0]], fake[1])


@pytest.mark.parametrize("balance", ["oversample", "none"])
def test_every_pair_is_in_one_batch(faces, balance):
    found = batches(faces, "pair", 200, balance=balance)  # one batch of all
    counts = Counter(found[0])
    added = 1 if balance == "oversample" else 0  # there are 24 reals, with repeats, and 23 fakes
    assert sum(counts[fake] - 1 for fake in np.flatnonzero(faces.labels)) == added
    reals_of = Counter(faces.pairs()[:, 0].tolist())
    assert all(counts[real] >= number for real, number in reals_of.items())
    assert set(counts) == set(range(len(faces)))
    reals, fakes = np.bincount(faces.labels[found[0]])
    assert (reals == fakes) if balance == "oversample" else (reals, fakes) == (24, 23)
    for epoch in range(3):
        alone = 0
        for batch in batches(faces, "pair", 8, epoch=epoch, balance=balance):
            held = names(faces, [index for index in batch if faces.labels[index] == 0])
            for name, frame in names(faces, [index for index in batch if faces.labels[index] == 1]):
                alone += name != "f4" and ({"f3": "r1"}.get(name, "r0"), frame) not in held
        assert alone <= added


@pytest.mark.parametrize("balance", ["oversample", "none"])
def test_a_group_is_in_one_batch(faces, balance):
    for batch in batches(faces, "group", 9, balance=balance):
        found = Counter(names(faces, batch))
        for frame in FRAMES:
            fakes = [(name, frame) for name in ("f0", "f1", "f2") if (name, frame) in found]
            if fakes:
                assert len(fakes) == (3 if frame < 30 else 2)
                assert found["r0", frame] >= (len(fakes) if balance == "oversample" else 1)
    counts = Counter(batches(faces, "group", 200, balance=balance)[0])
    assert set(counts) == set(range(len(faces)))
    if balance == "none":
        assert set(counts.values()) == {1}
    else:
        reals, fakes = np.bincount(faces.labels[list(counts.elements())])
        assert reals == fakes


def test_videos_stay_together_and_long_ones_are_divided(faces):
    for batch in batches(faces, "video", 6, balance="none"):
        assert len({name for name, _ in names(faces, batch)}) == 1 or len(batch) < 6 or len(set(batch)) == 6
    whole = batches(faces, "video", 200)[0]
    reals, fakes = np.bincount(faces.labels[whole])
    assert reals == fakes
    split = batches(faces, "video", 4, balance="none")
    first = {name for name, _ in names(faces, split[0])}
    assert len(first) <= 2


def test_the_order_depends_on_seed_and_epoch_alone(faces):
    first = batches(faces, "pair", epoch=2, seed=5)
    assert first == batches(faces, "pair", epoch=2, seed=5)
    assert first != batches(faces, "pair", epoch=3, seed=5)
    assert first != batches(faces, "pair", epoch=2, seed=6)


def test_the_first_epoch_and_the_seed_are_number_0(faces):
    batching = BATCHINGS["pair"]({})
    batching.start(faces.samples, faces.labels, 8, "oversample")
    assert list(BatchSampler(batching)) == batches(faces, "pair", 8, epoch=0, seed=0)


def test_a_last_batch_that_is_not_full_is_left_out_unless_it_is_alone(faces):
    assert len(faces) == 38
    [full] = batches(faces, "video", 30, balance="none")
    assert len(full) > 30 - 7  # of which the next video is too long
    [alone] = batches(faces, "video", 60, balance="none")
    assert sorted(alone) == list(range(38))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_take_equally_many_and_all_batches(faces, world):
    together = batches(faces, "pair", 4)
    shares = [batches(faces, "pair", 4, rank=rank, world=world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert {tuple(batch) for share in shares for batch in share} == {tuple(batch) for batch in together}


def test_a_unit_larger_than_a_batch_is_refused(faces):
    with pytest.raises(ConfigError, match="batch_by=group needs batches of at least 6 crops"):
        batches(faces, "group", 5)


def test_training_gets_them(root, faces):
    data = TrainingData(root, TrainSettings(batch=6, batch_by="pair", balance="none"), fields=["pair"])
    assert data.steps == len(list(data.train_loader)) > 3
    for batch in data.train_loader:
        fakes = batch["pair"][batch.labels == 1].tolist()
        lone = faces.samples["video_id"].to_pylist().index("f4")
        alone = [int(batch["pair"][batch.index == lone][0])] if lone in batch.index.tolist() else []
        assert set(fakes) - set(alone) <= set(batch["pair"][batch.labels == 0].tolist())


@pytest.mark.parametrize("drawn", [[], [[0, 1], []], [[0, 1, 2, 3]], [[0, 99]], [[-1]]])
def test_batches_of_ones_own_are_of_rows_that_exist_and_fit(faces, drawn):
    class Own(Batching):
        def draw(self, rng):
            return drawn

    own = Own({})
    own.start(faces.samples.slice(0, 20), faces.labels[:20], 3, "none")
    with pytest.raises(
        ConfigError, match=r"Own\.draw must return batches of 1 to 3 rows, each from 0 to 19: correct it"
    ):
        BatchSampler(own)


@pytest.mark.parametrize("kind", [Pairs, Groups])
def test_crops_without_a_counterpart_are_alone_and_none_is_left_out(kind: type[Units]) -> None:
    """Two fakes whose original is not used, and a face that an original has twice beside a fake of it."""
    videos, originals = ["f", "g", "a", "a", "h", "b", "i"], ["r", "r", None, None, "a", None, "b"]
    same: dict[str, list[object]] = {"dataset": ["d"] * 7, "track_id": [0] * 7, "frame_index": [1] * 7}
    samples = pa.table({**same, "video_id": videos, "source_id": originals, "pair_offset": [0] * 7})
    batching = kind(Options())
    batching.start(samples, np.array([1, 1, 0, 0, 1, 0, 1]), 7, "none")
    assert sorted(unit.tolist() for unit in batching.units(np.ones(7, np.int64))) == [[0], [1], [2], [3], [4], [5, 6]]
