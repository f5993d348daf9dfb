"""Rows of scores.parquet by hand."""

from typing import Any

import numpy as np
import pyarrow as pa

from facemill.pipeline.evaluate.scores import SCORES


def frame(video: str, score: float, *, method: str = "real", **fields: Any) -> dict[str, Any]:
    """One crop; what is not said is that of a clean ffpp c23 test frame."""
    defaults = {
        "sample_id": f"{video}-f0-t0",
        "dataset": "ffpp",
        "quality": "c23",
        "split": "test",
        "frame_index": 0,
        "track_id": 0,
        "corruption": "none",
        "severity": 0,
        "group": video,
    }
    with np.errstate(divide="ignore"):
        logit = float(np.log(score) - np.log1p(-score))
    own = {"video_id": video, "method": method, "label": int(method != "real"), "score": score, "logit": logit}
    return defaults | own | fields


def frames(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCORES)


def random_frames(methods: dict[str, float], *, seed: int = 0, **fields: Any) -> pa.Table:
    """Ten videos of six frames of reals and of each method, whose log-odds are about the number given."""
    random = np.random.default_rng(seed)
    return frames(
        *(
            frame(f"{method}{video}", 1 / (1 + np.exp(-random.normal(mean, 1.5))), method=method, **fields)
            for method, mean in {"real": -1.0, **methods}.items()
            for video in range(10)
            for _ in range(6)
        )
    )
