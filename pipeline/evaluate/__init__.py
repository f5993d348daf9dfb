"""Evaluation of trained detectors: scores, frame-level and video-level metrics, robustness, plots."""

from facemill.pipeline.evaluate.evaluation import Evaluation, evaluate
from facemill.pipeline.evaluate.metrics import Metrics, compute_metrics
from facemill.pipeline.evaluate.report import metrics_table, robustness_table
from facemill.pipeline.evaluate.scoring import score_faces
from facemill.pipeline.evaluate.seen import titled

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
