"""Clip groups: which videos are decoded together."""

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter

from facemill.manifests.records import ClipGroup, VideoEntry

__all__ = ["group_clips"]


def group_clips(entries: Iterable[VideoEntry]) -> list[ClipGroup]:
    """One group per pristine video with the fakes made from it, and one per fake without its original.

    Groups are sorted by `group_id` and fakes by `video_id`: the order of the entries does not matter.
    """
    ordered = sorted(entries, key=attrgetter("video_id"))
    reals = {entry.video_id: entry for entry in ordered if entry.label == 0}
    fakes: dict[str, list[VideoEntry]] = defaultdict(list)
    alone = []
    for entry in ordered:
        if entry.label == 0:
            continue
        if entry.source_id in reals:
            fakes[entry.source_id].append(entry)
        else:
            alone.append(entry)
    groups = [ClipGroup(real, tuple(fakes.get(video_id, ()))) for video_id, real in reals.items()]
    groups += [ClipGroup(None, (fake,)) for fake in alone]
    return sorted(groups, key=attrgetter("group_id"))
