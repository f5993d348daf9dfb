"""Which samples a split has, and which of a video's crops are used."""

import dataclasses
from collections import defaultdict

import pytest

from facemill import ConfigError, DatasetError
from facemill.manifests import MaskKind
from facemill.manifests.shards import EncodedSample
from facemill.pipeline.data.split import open_split
from tests.pipeline.data.built import build, default_samples, samples_of, video


def crops_by_video(split) -> dict[str, list[tuple[int, int]]]:
    crops = defaultdict(list)
    for row in split.samples.to_pylist():
        crops[row["video_id"]].append((row["frame_index"], row["track_id"]))
    return dict(crops)


def test_all_samples_of_a_split_in_the_order_of_the_shards(parquet):
    split = open_split(parquet, "train")
    expected = [sample.record.sample_id for sample in default_samples() if sample.record.split == "train"]
    assert split.samples["sample_id"].to_pylist() == expected
    assert [(int(s), int(r)) for s, r in zip(split.shard, split.row, strict=True)] == [divmod(n, 7) for n in range(30)]
    assert [path.name for path in split.shards] == [f"train-{n:06d}.parquet" for n in range(5)]
    assert split.labels.tolist() == [0] * 6 + [1] * 12 + [0] * 6 + [1] * 6
    assert split.has_mask.tolist() == [True] * 24 + [False] * 6
    assert split.size == 64


def test_every_counts_the_frames_of_each_video_not_its_crops(tmp_path):
    samples = samples_of([video("a", 0), video("b", 1)])
    second = [
        EncodedSample(
            dataclasses.replace(s.record, track_id=1, sample_id=s.record.sample_id[:-1] + "1"), s.image, s.mask
        )
        for s in samples[:3]
    ]
    build(tmp_path, [*samples, *second])  # the second person of video a, in its first three frames, stored last
    assert crops_by_video(open_split(tmp_path, "train", every=2)) == {
        "a": [(0, 0), (20, 0), (40, 0), (0, 1), (20, 1)],
        "b": [(0, 0), (20, 0), (40, 0)],
    }
    assert crops_by_video(open_split(tmp_path, "train", every=100)) == {"a": [(0, 0), (0, 1)], "b": [(0, 0)]}


def test_frames_are_drawn_once_by_seed(parquet):
    chosen = crops_by_video(open_split(parquet, "train", frames=2, seed=1))
    assert {name: len(crops) for name, crops in chosen.items()} == {f"train-{n}": 2 for n in range(5)}
    assert crops_by_video(open_split(parquet, "train", frames=2, seed=1)) == chosen
    draws = [crops_by_video(open_split(parquet, "train", frames=2, seed=seed)) for seed in range(6)]
    assert len({str(draw) for draw in draws}) == 6
    assert len({str(crops) for crops in chosen.values()}) > 1  # not the same frames of each video
    assert crops_by_video(open_split(parquet, "train", frames=99)) == crops_by_video(open_split(parquet, "train"))


def test_a_videos_choice_does_not_depend_on_the_others(parquet, tmp_path):
    build(tmp_path, samples_of([video("train-1", 1)]))
    alone = crops_by_video(open_split(tmp_path, "train", frames=3, seed=5))
    assert alone["train-1"] == crops_by_video(open_split(parquet, "train", frames=3, seed=5))["train-1"]


def test_frames_are_drawn_from_what_every_leaves(parquet):
    for crops in crops_by_video(open_split(parquet, "train", every=2, frames=2)).values():
        assert len(crops) == 2
        assert {frame for frame, _ in crops} < {0, 20, 40}


def test_datasets_follow_each_other(parquet, tar):
    both = open_split([parquet, tar], "val")
    assert len(both) == 24
    assert both.samples["sample_id"].to_pylist() == open_split(parquet, "val").samples["sample_id"].to_pylist() * 2
    assert [path.suffix for path in both.shards] == [".parquet"] * 2 + [".tar"] * 2


def test_an_unknown_or_empty_split_is_told_with_those_there_are(parquet):
    with pytest.raises(DatasetError, match=r"no samples of split 'test', it has train, val: build it"):
        open_split(parquet, "test")


def test_an_unfinished_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="finished build"):
        open_split(tmp_path, "train")


def test_a_lost_list_of_samples_is_told(tmp_path):
    (build(tmp_path) / "samples.parquet").unlink()
    with pytest.raises(DatasetError, match=r"samples.parquet cannot be read"):
        open_split(tmp_path, "train")


def test_crops_of_two_sizes_share_no_batch(parquet, tmp_path):
    other = [dataclasses.replace(s, record=dataclasses.replace(s.record, crop_size=96)) for s in default_samples()]
    build(tmp_path, other)
    with pytest.raises(DatasetError, match="sides of 64, 96 pixels"):
        open_split([parquet, tmp_path], "train")


def test_a_mask_that_cannot_be_trusted_is_no_mask_for_losses(tmp_path):
    samples = [
        dataclasses.replace(s, record=dataclasses.replace(s.record, mask_kind=MaskKind.UNRELIABLE))
        if s.record.label == 1 and s.record.mask_kind is MaskKind.DIFFERENCE
        else s
        for s in default_samples()
    ]
    split = open_split(build(tmp_path, samples), "train")
    kinds = split.samples["mask_kind"].to_pylist()
    assert "unreliable" in kinds
    assert split.has_mask.tolist() == [kind == "zeros" for kind in kinds]


@pytest.mark.parametrize("as_file", [False, True])
def test_excluded_videos_and_samples_are_left_out(parquet, tmp_path, as_file):
    ids = ["train-1", "train-0-f000010-t0", "val-0"]  # the last is in another split
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    split = open_split(parquet, "train", exclude=tmp_path / "ids.txt" if as_file else ids)
    left = crops_by_video(split)
    assert left["train-0"] == [(frame, 0) for frame in (0, 20, 30, 40, 50)]
    assert (sorted(left), len(split)) == (["train-0", "train-2", "train-3", "train-4"], 23)
    assert split.row[:2].tolist() == [0, 2]  # the places of the others are as before


def test_ids_that_no_dataset_has_are_reported(parquet):
    with pytest.raises(ConfigError, match=r"2 excluded ids are of no video or sample of .+ \(train-0-f000011-t0, v\)"):
        open_split(parquet, "train", exclude=["train-0", "train-0-f000011-t0", "v"])
    with pytest.raises(ConfigError, match="All samples of split val are excluded"):
        open_split(parquet, "val", exclude=["val-0", "val-1"])
