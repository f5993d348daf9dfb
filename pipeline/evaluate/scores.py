"""scores.parquet: its schema, reading, and the clip groups of its rows."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import ConfigError, ManifestError
from facemill.manifests.schemas import conform
from facemill.pipeline.data.overlap import originals, video_keys

__all__ = ["COPIED", "NO_CORRUPTION", "SCORES", "name_groups", "read_scores"]

NO_CORRUPTION = "none"
"""Value of `corruption` for uncorrupted crops; their severity is 0."""

COPIED = ("sample_id", "video_id", "dataset", "method", "label", "quality", "split", "frame_index", "track_id")
"""Columns copied from samples.parquet."""
_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("sample_id", "video_id", "dataset", "method"), pa.string()),
    "label": pa.int8(),
    **dict.fromkeys(("quality", "split"), pa.string()),
    **dict.fromkeys(("frame_index", "track_id"), pa.int32()),
    **dict.fromkeys(("logit", "score"), pa.float64()),
    "corruption": pa.string(),
    "severity": pa.int8(),
    "group": pa.string(),
}
SCORES = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _COLUMNS.items()])
"""scores.parquet: a row per face crop and corruption.

`logit` is the log-odds of fake, used for ranking, and `score` the probability of fake;
`corruption` is `none` and `severity` 0 for uncorrupted crops. `group` names the clip group: an original with all of its
fakes, in all qualities. The rest is copied from samples.parquet.
"""


def read_scores(path: Path) -> pa.Table:
    """Read scores.parquet.

    Raises:
        ConfigError: if there is none, or it is damaged or of an earlier version.
    """
    try:
        return conform(pq.read_table(path), SCORES)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give a folder that `facemill evaluate` has written.") from None
    except (ManifestError, pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{path} is damaged or of an earlier version ({error}): evaluate again.") from None


def name_groups(samples: pa.Table) -> "pa.Array[Any]":
    """The clip group of each sample: its original, in whatever quality; its own video if no original is known."""
    own: Any = originals(samples)
    names: pa.Array[Any] = pc.if_else(pc.is_valid(own), own, video_keys(samples))
    # A video's id has its quality in it: the same original in c23 and in c40 is one group.
    qualities: Any = samples["quality"].combine_chunks()
    for quality in qualities.unique().to_pylist():
        general: Any = pc.replace_substring(names, f"-{quality}-", "-", max_replacements=1)
        names = pc.if_else(pc.equal(qualities, quality), general, names)
    return names
