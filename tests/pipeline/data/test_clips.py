"""Clips of consecutive frames of one face."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from facemill import ConfigError, DatasetError
from facemill.manifests.shards import EncodedSample
from facemill.pipeline.data import FaceDataset, FaceLoader
from facemill.pipeline.data.clips import find_clips
from tests.manifests.small_dataset import make_sample
from tests.pipeline.data.built import build, samples_of, video


def table(*tracks: tuple[str, int, list[int]]) -> pa.Table:
    """Rows of frames of tracks: video, track, frames."""
    rows = [(name, track, frame) for name, track, frames in tracks for frame in frames]
    names, numbers, frames = zip(*rows, strict=True)
    return pa.table({
        "dataset": ["toy"] * len(rows), "video_id": names, "track_id": pa.array(numbers, pa.int32()),
        "frame_index": pa.array(frames, pa.int32()), "label": pa.array([0] * len(rows), pa.int8()),
    })  # fmt: skip


def frames_of(samples: pa.Table, clip: int, stride: int = 1) -> list[list[int]]:
    return samples["frame_index"].to_numpy()[find_clips(samples, clip, stride)].tolist()


def test_a_clip_has_no_gap() -> None:
    samples = table(("a", 0, [0, 1, 2, 3, 5, 6, 7, 20, 21]))
    assert frames_of(samples, 3) == [[0, 1, 2], [5, 6, 7]]
    assert frames_of(samples, 2) == [[0, 1], [2, 3], [5, 6], [20, 21]]
    assert frames_of(samples, 1) == [[n] for n in (0, 1, 2, 3, 5, 6, 7, 20, 21)]


def test_a_clip_never_spans_people_videos_or_datasets() -> None:
    """Frames that go on in another track, after a cut or beside the first one, and in another video."""
    samples = table(("a", 0, [0, 1, 2]), ("a", 1, [3, 4, 5]), ("b", 0, [6, 7, 8]), ("b", 1, [6, 7, 8]))
    assert frames_of(samples, 3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [6, 7, 8]]
    with pytest.raises(DatasetError, match=r"No face was sampled in 4 frames in a row.*sample.strategy=runs"):
        find_clips(samples, 4)
    other = samples.set_column(0, "dataset", pa.array(["toy"] * 3 + ["more"] * 9))
    same = other.set_column(2, "track_id", pa.array([0] * 12, pa.int32()))
    assert len(find_clips(same.slice(0, 6), 3)) == 2


def test_frames_are_a_stride_apart() -> None:
    assert frames_of(table(("a", 0, list(range(9)))), 3, 2) == [[0, 2, 4], [1, 3, 5]]
    assert frames_of(table(("a", 0, [0, 5, 10, 15, 25])), 2, 5) == [[0, 5], [10, 15]]


def test_a_clip_has_one_label() -> None:
    """A fake that is forged from frame 3 on, whose other frames are kept as real."""
    samples = table(("a", 0, list(range(9))))
    mixed = samples.set_column(4, "label", pa.array([0] * 3 + [1] * 6, pa.int8()))
    assert frames_of(mixed, 2) == [[0, 1], [3, 4], [5, 6], [7, 8]]
    assert frames_of(mixed, 6) == [[3, 4, 5, 6, 7, 8]]
    with pytest.raises(DatasetError):
        find_clips(mixed, 7)


def test_no_crop_is_in_two_clips_and_order_does_not_matter(rng: np.random.Generator) -> None:
    samples = table(*((f"v{n}", n % 2, sorted(set(rng.integers(0, 60, 45).tolist()))) for n in range(6)))
    shuffled = samples.take(rng.permutation(len(samples)))
    for clip, stride in ((4, 1), (3, 2), (2, 7)):
        rows = find_clips(samples, clip, stride)
        assert len(set(rows.ravel().tolist())) == rows.size
        assert (np.diff(samples["frame_index"].to_numpy()[rows], axis=1) == stride).all()
        assert len(find_clips(shuffled, clip, stride)) == len(rows)
        assert rows[:, 0].tolist() == sorted(rows[:, 0])


@pytest.mark.parametrize(("clip", "stride"), [(0, 1), (2, 0), (-1, 1)])
def test_impossible_numbers_are_refused(clip: int, stride: int) -> None:
    with pytest.raises(ConfigError, match="use 1 or more"):
        find_clips(table(("a", 0, [0])), clip, stride)


def second_person(sample: EncodedSample) -> EncodedSample:
    record = dataclasses.replace(sample.record, track_id=1, sample_id=f"{sample.record.sample_id[:-1]}1")
    return EncodedSample(record, sample.image, sample.mask)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A real and a fake of seven frames in a row and one more, with a second person in three of the real's."""
    real, fake = video("real", 0), dataclasses.replace(video("fake", 1), source_id="real")
    samples = samples_of([real, fake], (*range(7), 20))
    return build(tmp_path / "clips", [*samples, *(second_person(make_sample(real, frame)) for frame in (3, 4, 5))])


def test_clips_are_stacks_of_their_crops(clips: Path) -> None:
    single = FaceDataset(clips, "train", fields=("mask", "landmarks", "frame_index"))
    faces = FaceDataset(clips, "train", fields=("mask", "landmarks", "frame_index"), clip=3)
    assert len(faces) == len(faces.samples) == 5
    assert sorted(faces.labels.tolist()) == [0, 0, 0, 1, 1]
    assert faces.unused == 4  # the seventh and the last of both videos
    used, left = faces.divided()
    assert sorted(set(left["frame_index"].to_pylist())) == [6, 20]
    assert (len(used), len(left)) == (15, 4)
    assert sorted([*used["sample_id"].to_pylist(), *left["sample_id"].to_pylist()]) == sorted(
        single.samples["sample_id"].to_pylist()
    )
    for n, row in enumerate(faces.samples.to_pylist()):
        sample = faces[n]
        assert sample["image"].shape == (3, 3, 64, 64)
        assert sample["mask"].shape == (3, 1, 64, 64)
        assert sample["has_mask"].shape == (3,)
        assert sample["landmarks"].shape == (3, 5, 2)
        assert sample["frame_index"].tolist() == [row["frame_index"] + step for step in range(3)]
        assert (sample["label"], sample["index"]) == (row["label"], n)
        for step in range(3):
            name = f"{row['video_id']}-f{row['frame_index'] + step:06d}-t{row['track_id']}"
            [there] = [i for i, of in enumerate(single.samples["sample_id"].to_pylist()) if of == name]
            assert torch.equal(sample["image"][step], single[there]["image"])
            assert torch.equal(sample["mask"][step], single[there]["mask"])
    pairs = faces.pairs()
    assert faces.samples["frame_index"].to_numpy()[pairs].tolist() == [[0, 0], [3, 3]]
    assert faces.labels[pairs].tolist() == [[0, 1], [0, 1]]


def test_clips_are_batched_and_transformed_as_a_whole(clips: Path) -> None:
    faces = FaceDataset(clips, "train", clip=2, stride=2, transform=lambda images: images.flip(-1))
    plain = FaceDataset(clips, "train", clip=2, stride=2)
    [batch] = FaceLoader(faces, batch_size=len(faces))
    assert batch.images.shape == (len(faces), 2, 3, 64, 64)
    assert torch.equal(batch.images[0], plain[0]["image"].flip(-1))
    with pytest.raises(IndexError):
        plain[len(plain)]


@pytest.mark.parametrize("options", [{"frames": 4}, {"every": 2}])
def test_clips_of_chosen_frames_are_refused(clips: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="leave out frames and every, and use stride"):
        FaceDataset(clips, "train", clip=2, **options)
