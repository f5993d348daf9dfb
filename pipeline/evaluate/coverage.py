"""What an evaluation could not score: videos without a sample, and frames that failed in the build."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from facemill.manifests.schemas import FAILURES, VIDEOS
from facemill.manifests.shards.dataset import FAILURES_FILE, VIDEOS_FILE
from facemill.pipeline.data.split import read_listed

__all__ = ["UNSCORED", "count_unscored", "describe_unscored", "find_unscored", "only_unscored", "with_unscored"]

_NAMES = ("dataset", "quality", "method", "video_id")
_COLUMNS: Any = {**dict.fromkeys(_NAMES, pa.string()), "frames": pa.int64(), "whole": pa.bool_()}
UNSCORED = pa.schema(_COLUMNS)
"""A row for each video of which something could not be scored: how many frames, and whether all of it."""


def find_unscored(folder: Path, split: str, samples: pa.Table, left: pa.Table | None = None) -> pa.Table:
    """List the videos of a built dataset's split that have no sample, or frames that failed or are in no clip.

    Args:
        samples: the rows of samples.parquet that are scored.
        left: those that are not, since they are in no clip.

    Returns:
        a table with schema `UNSCORED`; empty for a dataset without a list of videos.

    Raises:
        DatasetError: if a table is damaged.
    """
    videos = read_listed(folder, VIDEOS_FILE, VIDEOS).filter(pc.field("split") == split)
    whole = pc.invert(pc.is_in(videos["video_id"], value_set=samples["video_id"].unique()))
    table = videos.select(list(_NAMES)).append_column("whole", whole)
    none: Any = pa.schema({name: _COLUMNS[name] for name in ("video_id", "frames")})
    lost = [read_listed(folder, FAILURES_FILE, FAILURES).select(none.names).cast(none)]
    if left is not None:
        lost.append(left.select(["video_id"]).append_column("frames", pa.repeat(1, len(left))).cast(none))
    counts = pa.concat_tables(lost).group_by("video_id", use_threads=False).aggregate([("frames", "sum")])
    rows: Any = pc.index_in(table["video_id"], value_set=counts["video_id"].combine_chunks())
    frames: Any = counts["frames_sum"].combine_chunks().take(rows.combine_chunks()).fill_null(0)
    table = table.append_column("frames", frames)
    return only_unscored(table.select(UNSCORED.names).cast(UNSCORED))


def count_unscored(unscored: pa.Table, **keys: str) -> dict[str, int]:
    """Count the videos and frames of a dataset, quality or method that could not be scored.

    Args:
        keys: values of the columns; a method's reals are counted with it.
    """
    for name, value in keys.items():
        same = pc.field(name) == value
        unscored = unscored.filter(same | (pc.field(name) == "real") if name == "method" else same)
    frames = pc.sum(unscored["frames"]).as_py()
    return {"videos_unscored": int(pc.sum(unscored["whole"]).as_py() or 0), "frames_unscored": int(frames or 0)}


def with_unscored(scores: pa.Table, unscored: pa.Table) -> pa.Table:
    """A table with schema `UNSCORED` of all videos, so that what is scored says which methods there are."""
    scored = scores.select(list(_NAMES)).append_column("frames", pa.repeat(0, len(scores)))
    scored = scored.append_column("whole", pa.repeat(False, len(scores)))
    return pa.concat_tables([scored.cast(UNSCORED), unscored])


def only_unscored(videos: pa.Table) -> pa.Table:
    """The rows of such a table of which something could not be scored."""
    return videos.filter(pc.field("whole") | (pc.field("frames") > 0))


def describe_unscored(unscored: pa.Table, in_no_clip: int = 0) -> Iterator[str]:
    """Yield a sentence about the videos that could not be scored, and one about crops that are in no clip, if any."""
    missing: list[Any] = unscored.filter(pc.field("whole"))["video_id"].to_pylist()
    if missing:
        yield (
            f"{len(missing)} videos could not be scored, {min(missing)} among them: they are in no metric. "
            "`facemill inspect` says why."
        )
    if in_no_clip:
        yield (
            f"{in_no_clip} crops are in no clip of the detector's length and could not be scored: they are in no "
            "metric. Build with sample.strategy=runs, and runs of a multiple of that length."
        )
