import random
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemill.manifests import ClipGroup, VideoEntry, group_clips
from facemill.pipeline.build.identity import WorkIdentity
from facemill.pipeline.build.plan import plan_shards
from facemill.pipeline.config.recipe import load_recipe


def corpus(reals: int, fakes_each: int, split: str = "train") -> list[VideoEntry]:
    entries = []
    for number in range(reals):
        shared = {"dataset": "x", "quality": "c23", "split": split, "root": "/data"}
        real = VideoEntry(f"x-real-{split}-{number}", method="real", label=0, path=f"{split}{number}.mp4", **shared)
        entries.append(real)
        for fake in range(fakes_each):
            name = f"x-fake{fake}-{split}-{number}"
            entries.append(
                VideoEntry(name, method=f"fake{fake}", label=1, path=f"{name}.mp4", source_id=real.video_id, **shared)
            )
    return entries


def test_every_group_is_in_one_shard_of_its_own_split() -> None:
    groups = group_clips(corpus(40, 2) + corpus(10, 2, "test"))
    specs = plan_shards(groups, load_recipe("default", ["shards.samples_per_shard=500"]))
    planned = [group.group_id for spec in specs for group in spec.groups]
    assert sorted(planned) == sorted(group.group_id for group in groups)
    assert all(group.split == spec.split for spec in specs for group in spec.groups)
    assert [spec.shard_id for spec in specs][:2] == ["train-000000", "train-000001"]
    sizes = [sum(32 * 3 for _ in spec.groups) for spec in specs if spec.split == "train"]
    assert max(sizes) - min(sizes) <= 96
    assert sum(sizes) / len(sizes) == 480


def test_the_plan_does_not_depend_on_the_order_of_the_manifest_but_on_the_seed() -> None:
    entries = corpus(30, 2)
    recipe = load_recipe("default", ["shards.samples_per_shard=300"])
    plan = plan_shards(group_clips(entries), recipe)
    random.Random(1).shuffle(entries)
    assert plan_shards(group_clips(entries), recipe) == plan
    other = load_recipe("default", ["shards.samples_per_shard=300", "seed=1"])
    assert plan_shards(group_clips(entries), other) != plan


def test_fingerprints_tell_apart_what_changes_the_bytes() -> None:
    one_shard = "shards.samples_per_shard=1000"
    recipe = load_recipe("default", [one_shard])
    here = WorkIdentity.here(recipe, "cpu")
    [spec] = plan_shards(group_clips(corpus(2, 1)), recipe)
    [longer] = plan_shards(group_clips(corpus(3, 1)), recipe)
    assert spec.fingerprint(here) == spec.fingerprint(WorkIdentity.here(load_recipe("default", [one_shard]), "cpu"))
    others = [
        WorkIdentity.here(load_recipe("default", [one_shard, "crop.size=64"]), "cpu"),
        replace(here, device="CPU x86_64 AVX1024"),
        replace(here, weights="0" * 64),
        replace(here, versions={**here.versions, "av": "1"}),
    ]
    assert len({spec.fingerprint(here), longer.fingerprint(here), *map(spec.fingerprint, others)}) == 6


def test_a_reference_is_read_in_its_fakes_shard_and_counts_for_no_samples_there() -> None:
    entries = corpus(4, 3)
    entries = [replace(entry, split="test") if entry.method == "fake2" else entry for entry in entries]
    specs = plan_shards(group_clips(entries), load_recipe("default", ["shards.samples_per_shard=192"]))
    for spec in specs:
        assert all(group.split == spec.split for group in spec.groups)
        assert spec.sampled_ids == {entry.video_id for entry in entries if entry.split == spec.split} & spec.video_ids
    test = [spec for spec in specs if spec.split == "test"]
    assert len(test) == 1  # 4 x 32 samples, not 8 x 32
    assert {video.method for group in test[0].groups for video in group.videos()} == {"real", "fake2"}
    sampled = [video_id for spec in specs for video_id in spec.sampled_ids]
    assert sorted(sampled) == sorted(entry.video_id for entry in entries)


@pytest.mark.parametrize(
    ("groups", "shards"), [(1, 1), (3, 2), (12, 9), (40, 30), (60, 32), (300, 32), (400, 37), (800, 75)]
)
def test_a_small_dataset_has_shards_for_many_workers(groups: int, shards: int) -> None:
    """Groups of 96 samples: shards of 128 or more, until there are 32, then as many until each has 1,024."""
    entries = corpus(groups * 3 // 4, 2) + corpus(groups - groups * 3 // 4, 2, "test")
    specs = plan_shards(group_clips(entries), load_recipe("default"))
    assert abs(len(specs) - shards) <= 1
    assert sum(len(spec.groups) for spec in specs) == groups
    asked = plan_shards(group_clips(entries), load_recipe("default", ["shards.samples_per_shard=100000"]))
    assert len(asked) == len({spec.split for spec in specs})


def test_a_root_that_moved_holds_the_same_work() -> None:
    recipe = load_recipe("default")
    [spec] = plan_shards(group_clips(corpus(2, 1)), recipe)
    [moved] = plan_shards(group_clips(replace(entry, root="/mnt") for entry in corpus(2, 1)), recipe)
    here = WorkIdentity.here(recipe, "cpu")
    assert spec.fingerprint(here) == moved.fingerprint(here)


def test_a_group_larger_than_a_shard_is_a_shard() -> None:
    entries = corpus(1, 50)
    [group] = group_clips(entries)
    assert isinstance(group, ClipGroup)
    [spec] = plan_shards([group], load_recipe("default", ["shards.samples_per_shard=10"]))
    assert len(list(spec.groups[0].videos())) == 51


def test_sequences_out_of_one_archive_follow_one_another() -> None:
    """An archive can only be read from its start: a worker reads it once for as many of them as come in a row."""
    paths = [f"real_train/{archive}.tar.gz/{archive}/real/{number}" for archive in range(4) for number in range(10)]
    [entry] = corpus(1, 0)
    entries = [replace(entry, video_id=f"wild-{number}", path=path) for number, path in enumerate(paths)]
    [spec] = plan_shards(group_clips(entries), load_recipe("default"))
    archives = [video.path.partition("/")[2].partition("/")[0] for group in spec.groups for video in group.videos()]
    assert len([*groupby(archives)]) == 4
    assert archives != sorted(archives)
    numbers = [int(video.path.rpartition("/")[2]) for group in spec.groups for video in group.videos()]
    assert numbers[:10] != sorted(numbers[:10])


def manifest(videos: list[tuple[str, int | None, str]]) -> list[VideoEntry]:
    """Entries of (split, number of the original, or None; kind): a real, or a fake of it, or a fake of nothing."""
    reals = [index for index, (_, original, kind) in enumerate(videos) if kind == "real" and original is None]
    entries = []
    for index, (split, original, kind) in enumerate(videos):
        source = None if kind != "pair" or not reals else f"v{reals[(original or 0) % len(reals)]}"
        label = int(kind != "real")
        entries.append(
            VideoEntry(
                f"v{index}", "x", "swap" if label else "real", label, "c23", split, "/d", f"v{index}.mp4", source
            )
        )
    return entries


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "val", "test"]),
            st.none() | st.integers(0, 20),
            st.sampled_from(["real", "pair", "lone"]),
        ),
        max_size=40,
    ),
    st.integers(1, 400),
    st.integers(0, 3),
)
def test_any_manifest_s_plan_samples_each_video_once_and_in_its_split(
    videos: list[tuple[str, int | None, str]], per_shard: int, seed: int
) -> None:
    """Originals and fakes may be in different splits: an original is read there, too, but gives no samples."""
    entries = manifest(videos)
    recipe = load_recipe("default", [f"shards.samples_per_shard={per_shard}", f"seed={seed}", "sample.frames=4"])
    specs = plan_shards(group_clips(entries), recipe)
    sampled = [(video.video_id, spec.split) for spec in specs for group in spec.groups for video in group.sampled()]
    assert sorted(sampled) == sorted((entry.video_id, entry.split) for entry in entries)
    assert sorted(video_id for spec in specs for video_id in spec.sampled_ids) == sorted(e.video_id for e in entries)
    for group in (group for spec in specs for group in spec.groups):
        for fake in group.fakes:
            assert fake.source_id == (None if group.real is None else group.real.video_id)
    assert len({spec.shard_id for spec in specs}) == len(specs)
    assert all(spec.groups for spec in specs)
