"""Joining, by appearance, the tracks of a person whom the tracker lost for a while within one shot."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from facemill.pipeline.tracking.appearance import unlikeness
from facemill.pipeline.tracking.portraits import distances
from facemill.pipeline.tracking.track import Track

__all__ = ["joined_ids"]

SAME = 0.45
"""Distance between two tracks below which they may show one person."""
FACE_WEIGHT = 0.7
"""Weight of the embeddings in the distance between two tracks; the rest is that of the descriptors."""
STRANGER = 0.9
"""Maximum distance between two tracks of one person, as a share of the distance from a known stranger."""
COMPARED = 16
"""Number of descriptors of a track that are compared, evenly spaced."""
NEVER = 1e6
"""Stands for an infinite distance, and can be averaged."""


def joined_ids(tracks: Sequence[Track], settled: int = -1) -> dict[int, int]:
    """Lowest id of the tracks that show the same person, by track id.

    Tracks with a common frame show strangers. Two tracks are joined if their distance is below `SAME`, and clearly
    below the distance of either of them from the other's strangers. The most similar tracks are joined first; the
    distance of a group of joined tracks is the mean over its tracks.

    Args:
        tracks: of one shot, by ascending id.
        settled: tracks that begin up to this frame are not joined with each other, since their ids are final.
    """
    shared = [[not a.faces.keys().isdisjoint(b.faces) for b in tracks] for a in tracks]
    strangers = np.array(shared, bool).reshape(len(tracks), len(tracks))
    np.fill_diagonal(strangers, False)
    in_use = np.array([min(track.faces) <= settled for track in tracks], bool)
    parted = strangers | np.logical_and.outer(in_use, in_use)
    if parted[~np.eye(len(tracks), dtype=bool)].all():
        return {track.track_id: track.track_id for track in tracks}
    unlike = squareform([_unlikeness(a, b) for a, b in combinations(tracks, 2)])
    # [i, j]: distance of track j from the nearest stranger of track i.
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
    """Mean distance of each descriptor of both tracks from the most similar one of the other track."""
    if not first.looks or not second.looks:
        return NEVER
    unlike = _mutual(unlikeness(_spread(first.looks), _spread(second.looks)))
    if not first.album.best or not second.album.best:
        return unlike
    faces = _mutual(distances(first.album.best, second.album.best))
    return FACE_WEIGHT * faces + (1 - FACE_WEIGHT) * unlike


def _mutual(unlike: NDArray[np.float64]) -> float:
    return float(unlike.min(axis=0).mean() + unlike.min(axis=1).mean()) / 2


def _spread(looks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    places = np.linspace(0, len(looks) - 1, min(COMPARED, len(looks))).round().astype(int)
    return np.stack([looks[place] for place in places])
