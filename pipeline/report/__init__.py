"""Reports that people look at: one HTML file of a dataset, a training run or evaluations."""

from facemill.pipeline.report.dataset import report_dataset

__all__ = ["report_dataset"]
