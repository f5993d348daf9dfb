import random

from facemill.manifests import VideoEntry, group_clips


def entry(video_id: str, label: int, source_id: str | None = None) -> VideoEntry:
    method = "swap" if label else "real"
    return VideoEntry(video_id, "d", method, label, "c23", "test", "/r", f"{video_id}.mp4", source_id)


ENTRIES = [
    entry("r1", 0),
    entry("r2", 0),
    entry("f3", 1, "r2"),
    entry("f1", 1, "r2"),
    entry("f2", 1),
    entry("z", 1, "elsewhere"),
]


def test_groups_are_pristine_videos_with_their_fakes():
    groups = [(group.group_id, [video.video_id for video in group.videos()]) for group in group_clips(ENTRIES)]
    assert groups == [("f2", ["f2"]), ("r1", ["r1"]), ("r2", ["r2", "f1", "f3"]), ("z", ["z"])]
    assert [group.real is None for group in group_clips(ENTRIES)] == [True, False, False, True]


def test_the_order_of_the_entries_does_not_matter():
    shuffled = random.Random(0).sample(ENTRIES, len(ENTRIES))
    assert group_clips(shuffled) == group_clips(ENTRIES)
