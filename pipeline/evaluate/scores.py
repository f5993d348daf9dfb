"""The schema of scores.parquet."""

from typing import Any

import pyarrow as pa

__all__ = ["COPIED", "NO_CORRUPTION", "SCORES"]

NO_CORRUPTION = "none"
"""Value of `corruption` for uncorrupted crops; their severity is 0."""

COPIED = ("sample_id", "video_id", "dataset", "method", "label", "quality", "split", "frame_index", "track_id")
"""Columns copied from samples.parquet."""


def _required(name: str, kind: pa.DataType) -> "pa.Field[Any]":
    return pa.field(name, kind, nullable=False)


SCORES = pa.schema(
    [
        *(_required(name, pa.string()) for name in ("sample_id", "video_id", "dataset", "method")),
        _required("label", pa.int8()),
        _required("quality", pa.string()),
        _required("split", pa.string()),
        _required("frame_index", pa.int32()),
        _required("track_id", pa.int32()),
        _required("logit", pa.float64()),
        _required("score", pa.float64()),
        _required("corruption", pa.string()),
        _required("severity", pa.int8()),
    ]
)
"""scores.parquet: a row per face crop and corruption.

`logit` is the log-odds of fake, used for ranking, and `score` the probability of fake;
`corruption` is `none` and `severity` 0 for uncorrupted crops. The rest is copied from samples.parquet.
"""
