"""Evaluation of trained detectors: scores, frame-level and video-level metrics, robustness, plots."""

__all__: list[str] = []
