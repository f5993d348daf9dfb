"""Choice of the crops of each video."""

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

__all__ = ["choose_crops"]


def choose_crops(samples: pa.Table, *, frames: int | None, every: int, seed: int) -> NDArray[np.bool_]:
    """Choose the rows to use; a mask [rows].

    The choice for a video depends only on its own rows and the seed, not on other rows of the table.

    Args:
        samples: rows of samples.parquet.
        frames, every, seed: as for `FaceDataset`; of a video's sampled frames, the first is used.
    """
    video = samples["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    kept = np.ones(len(video), bool)
    if every > 1:
        # All crops of a frame have its position among its video's frames.
        sampled, frame = np.unique(np.stack([video, samples["frame_index"].to_numpy()], 1), axis=0, return_inverse=True)
        kept = _rank(sampled[:, 0], np.arange(len(sampled)))[frame] % every == 0
    if frames is not None:
        hashes = [xxhash.xxh64_intdigest(key.encode(), seed % 2**64) for key in samples["sample_id"].to_numpy()]
        kept &= _rank(video, np.lexsort((np.array(hashes, np.uint64), ~kept, video))) < frames
    return kept


def _rank(group: NDArray[np.int32], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each row within its group; `order` must sort by group first."""
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
    return rank
