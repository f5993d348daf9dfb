"""Which crops of each video are used."""

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

__all__ = ["choose_crops"]


def choose_crops(samples: pa.Table, *, frames: int | None, every: int, seed: int) -> NDArray[np.bool_]:
    """Which rows to use, [rows].

    A video's choice depends on its own rows and the seed alone, not on what else the table holds.

    Args:
        samples: rows of samples.parquet.
        frames: crops a video, at most; drawn once, by seed. None for all.
        every: use every n-th of the frames that were sampled of a video, from the first.
    """
    video = samples["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    kept = np.ones(len(video), bool)
    if every > 1:
        kept = _frame_rank(video, samples["frame_index"].to_numpy()) % every == 0
    if frames is not None:
        lots = [xxhash.xxh64_intdigest(key.encode(), seed % 2**64) for key in samples["sample_id"].to_numpy()]
        kept &= _rank(video, np.lexsort((np.array(lots, np.uint64), ~kept, video))) < frames
    return kept


def _rank(group: NDArray[np.int32], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each row among the rows of its group, where `order` sorts by group first."""
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    return rank


def _frame_rank(video: NDArray[np.int32], frame: NDArray[np.int32]) -> NDArray[np.int64]:
    """Position of each row's frame among the frames of its video; the crops of one frame share it."""
    pairs, which = np.unique(np.stack([video, frame], 1), axis=0, return_inverse=True)
    return _rank(pairs[:, 0], np.arange(len(pairs)))[which]
