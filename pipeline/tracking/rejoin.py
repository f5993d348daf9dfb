"""Joins the tracks of one person in one shot, where the tracker lost them for a while, by appearance."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from facemill.pipeline.tracking.appearance import Look, compute_embeddings, unlikeness
from facemill.pipeline.tracking.track import Track

__all__ = ["joined_ids"]

SAME = 0.56
"""Difference of two tracks below which they may show one person."""
STRANGER = 0.9
"""Part of the difference from a known stranger that the difference of one person's two tracks may reach."""
COMPARED = 8
"""Looks of a track that are compared, spread evenly over it."""
NEVER = 1e6
"""Stands for an infinite difference in means."""


def joined_ids(tracks: Sequence[Track], settled: int = -1) -> dict[int, int]:
    """Lowest id of the tracks that show the same person, by track id.

    Tracks seen in the same frame show strangers. Two tracks are joined if they differ by less than `SAME`, and by
    clearly less than either of them differs from the strangers of the other one. The most alike are joined first;
    a group of joined tracks differs from others by the mean over its tracks.

    Args:
        tracks: of one shot, by ascending id.
        settled: tracks seen up to this frame are not joined with one another, since their ids are in use.
    """
    alone = {track.track_id: track.track_id for track in tracks}
    if len(tracks) < 2:
        return alone
    strangers = np.array([[not a.faces.keys().isdisjoint(b.faces) for b in tracks] for a in tracks])
    in_use = np.array([min(track.faces) <= settled for track in tracks])
    parted = strangers | np.logical_and.outer(in_use, in_use)
    np.fill_diagonal(parted, True)
    if parted.all():
        return alone
    np.fill_diagonal(strangers, False)
    compute_embeddings([look for track in tracks for look in _spread(track.looks)])
    unlike = squareform([_unlikeness(a, b) for a, b in combinations(tracks, 2)])
    # [i, j]: how much track j differs from the strangers of track i.
    rival = np.stack([unlike[known].min(axis=0, initial=NEVER) for known in strangers])
    never = parted | (unlike > STRANGER * np.minimum(rival, rival.T))
    cost = np.where(never, NEVER, unlike)
    np.fill_diagonal(cost, 0)
    groups = fcluster(linkage(squareform(cost, checks=False), "average"), SAME, "distance")
    lowest: dict[int, int] = {}
    return {
        track.track_id: lowest.setdefault(group, track.track_id)
        for track, group in zip(tracks, groups.tolist(), strict=True)
    }


def _unlikeness(first: Track, second: Track) -> float:
    """Mean over the looks of both tracks of the difference from the most alike one of the other track."""
    if not first.looks or not second.looks:
        return NEVER
    unlike = unlikeness(_spread(first.looks), _spread(second.looks))
    return float(unlike.min(axis=0).mean() + unlike.min(axis=1).mean()) / 2


def _spread(looks: Sequence[Look]) -> list[Look]:
    places = np.linspace(0, len(looks) - 1, min(COMPARED, len(looks))).round().astype(int)
    return [looks[place] for place in places]
