"""Clip groups: which videos are decoded together."""

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter

from facemill.manifests.records import REFERENCE, ClipGroup, VideoEntry

__all__ = ["group_clips"]


def group_clips(entries: Iterable[VideoEntry]) -> list[ClipGroup]:
    """One group per pristine video with the fakes made from it, and one per fake without its original.

    Fakes in another split than their original's form a group of their own. The original is in both groups, but
    yields samples only in the group of its own split. Groups are sorted by `group_id` and fakes by `video_id`, so
    the order of the entries does not matter.
    """
    ordered = sorted(entries, key=attrgetter("video_id"))
    reals = {entry.video_id: entry for entry in ordered if entry.label == 0}
    fakes: dict[tuple[str, str], list[VideoEntry]] = defaultdict(list)  # by original and split
    groups = []
    for entry in ordered:
        if entry.label == 0 and entry.split != REFERENCE:
            fakes[entry.video_id, entry.split] += ()  # a real video without fakes is a group too
        elif entry.label == 1 and entry.source_id in reals:
            fakes[entry.source_id, entry.split].append(entry)
        elif entry.label == 1:
            groups.append(ClipGroup(None, (entry,)))
    groups += [ClipGroup(reals[original], tuple(made)) for (original, _), made in fakes.items()]
    return sorted(groups, key=attrgetter("group_id"))
