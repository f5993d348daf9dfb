"""Evaluation of trained detectors: scores, frame-level and video-level metrics, robustness, plots."""
