import random

from hypothesis import given
from hypothesis import strategies as st

from facemill.manifests import REFERENCE, SPLITS, ClipGroup, VideoEntry, group_clips


def entry(video_id: str, label: int, source_id: str | None = None, split: str = "test") -> VideoEntry:
    method = "swap" if label else "real"
    return VideoEntry(video_id, "d", method, label, "c23", split, "/r", f"{video_id}.mp4", source_id)


ENTRIES = [
    entry("r1", 0),
    entry("r2", 0),
    entry("f3", 1, "r2"),
    entry("f1", 1, "r2"),
    entry("f2", 1),
    entry("z", 1, "elsewhere"),
]


def ids(videos):
    return [video.video_id for video in videos]


def test_groups_are_pristine_videos_with_their_fakes():
    groups = [(group.group_id, ids(group.videos())) for group in group_clips(ENTRIES)]
    assert groups == [("f2", ["f2"]), ("r1", ["r1"]), ("r2", ["r2", "f1", "f3"]), ("z", ["z"])]
    assert [group.real is None for group in group_clips(ENTRIES)] == [True, False, False, True]
    assert not any(group.real_is_reference for group in group_clips(ENTRIES))


def test_the_order_of_the_entries_does_not_matter():
    entries = [*ENTRIES, entry("f4", 1, "r2", "train"), entry("f5", 1, "r1", "val")]
    shuffled = random.Random(0).sample(entries, len(entries))
    assert group_clips(shuffled) == group_clips(entries)


def test_fakes_of_another_split_than_their_originals_are_groups_in_which_it_is_a_reference():
    entries = [entry("r", 0, split="train"), *(entry(f"f-{split}", 1, "r", split) for split in SPLITS)]
    groups = {group.split: group for group in group_clips(entries)}
    assert len(groups) == 3
    assert {split: group.group_id for split, group in groups.items()} == {
        "train": "r",
        "val": "r/val",
        "test": "r/test",
    }
    assert {split: group.real_is_reference for split, group in groups.items()} == {
        "train": False,
        "val": True,
        "test": True,
    }
    for split, group in groups.items():
        assert ids(group.videos()) == ["r", f"f-{split}"]
    assert ids(groups["train"].sampled()) == ["r", "f-train"]
    assert ids(groups["val"].sampled()) == ["f-val"]


def test_an_original_that_was_left_out_of_the_split_is_in_no_group_of_its_own():
    entries = [entry("r", 0, split=REFERENCE), entry("f", 1, "r")]
    (group,) = group_clips(entries)
    assert (group.split, ids(group.videos()), ids(group.sampled())) == ("test", ["r", "f"], ["f"])


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(SPLITS)), max_size=12), st.lists(st.sampled_from(SPLITS)))
def test_every_video_is_sampled_in_one_group_of_its_split_and_every_fake_meets_its_original(made, reals):
    entries = [entry(f"r{n}", 0, split=split) for n, split in enumerate(reals)]
    entries += [entry(f"f{n}", 1, f"r{source}", split) for n, (source, split) in enumerate(made)]
    groups = group_clips(entries)
    sampled = [(video.video_id, group.split) for group in groups for video in group.sampled()]
    assert sorted(sampled) == sorted((video.video_id, video.split) for video in entries)
    assert len({group.group_id for group in groups}) == len(groups)
    for group in groups:
        for fake in group.fakes:
            there = int((fake.source_id or "")[1:]) < len(reals)
            assert (group.real.video_id if group.real else None) == (fake.source_id if there else None)


def test_a_group_without_some_videos():
    real, fake, other = entry("r", 0, split="train"), entry("f", 1, "r"), entry("g", 1, "r")
    group = ClipGroup(real, (fake, other))
    assert group.without({"g"}) == ClipGroup(real, (fake,))
    assert group.without({"r", "g"}) == ClipGroup(None, (fake,))
    assert group.without({"f", "g"}) is None  # the reference alone gives no samples
    assert ClipGroup(real, ()).without({"f"}) == ClipGroup(real, ())
    assert ClipGroup(real, ()).without({"r"}) is None
