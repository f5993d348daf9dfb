"""Evaluation of trained detectors: scores, frame-level and video-level metrics, robustness, plots."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facemill.pipeline.evaluate.metrics import Metrics, compute_metrics
from facemill.pipeline.evaluate.report import metrics_table, robustness_table
from facemill.pipeline.evaluate.seen import titled

if TYPE_CHECKING:
    from facemill.pipeline.evaluate.evaluation import Evaluation, evaluate
    from facemill.pipeline.evaluate.scoring import score_faces

__all__ = [
    "Evaluation",
    "Metrics",
    "compute_metrics",
    "evaluate",
    "metrics_table",
    "robustness_table",
    "score_faces",
    "titled",
]

# These need the `train` extra, which what is computed of scores, as audits and reports of datasets do, does not.
_LAZY = {"Evaluation": "evaluation", "evaluate": "evaluation", "score_faces": "scoring"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
