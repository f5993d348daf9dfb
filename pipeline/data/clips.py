"""Clips: consecutive frames of one track."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill import ConfigError, DatasetError
from facemill.pipeline.data.fields import numbered

__all__ = ["find_clips"]

_TRACK = ("dataset", "video_id", "track_id", "label")


def find_clips(samples: pa.Table, clip: int, stride: int = 1) -> NDArray[np.int64]:
    """Rows of each clip, [N, clip], in the order of the first frames' rows; no crop is in two clips.

    The frames of a clip are of one track of one video, and `stride` frames apart, with none missing. Since tracks never
    cross a cut, neither do clips. They have one label: in a fake that is forged in some frames only, and whose other
    frames are kept, no clip has both. Each track is divided from its first frame on.

    Args:
        samples: rows of samples.parquet.

    Raises:
        ConfigError: if a number is not positive.
        DatasetError: if there is no such clip.
    """
    if clip < 1 or stride < 1:
        raise ConfigError(f"A clip of {clip} frames that are {stride} apart is not possible: use 1 or more.")
    frame = samples["frame_index"].to_numpy().astype(np.int64)
    # Tracks are so far apart on one axis that no clip reaches from one to the next.
    place = numbered(samples, *_TRACK) * (frame.max(initial=0) + clip * stride + 1) + frame
    order = np.argsort(place, kind="stable")
    place = place[order]
    positions = np.stack([np.searchsorted(place, place + step * stride) for step in range(clip)], 1)  # [rows, clip]
    found = place[np.minimum(positions, len(place) - 1)]
    whole = (found == place[:, None] + np.arange(clip) * stride).all(1)
    used = np.zeros(len(place), bool)
    starts = []
    for start in np.flatnonzero(whole).tolist():
        if not used[positions[start]].any():
            used[positions[start]] = True
            starts.append(start)
    if not starts:
        raise DatasetError(
            f"No face was sampled in {clip} frames in a row, each {stride} after the one before: build the dataset "
            "with sample.strategy=runs and as many frames in a run, or choose a shorter clip."
        )
    rows: NDArray[np.int64] = order[positions[starts]]
    return np.take(rows, np.argsort(rows[:, 0], kind="stable"), axis=0)
