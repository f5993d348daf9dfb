"""Audit of built datasets: what lets a detector score without the face, or see test data in training."""

from facemill.pipeline.audit.audit import audit
from facemill.pipeline.audit.findings import Audit

__all__ = ["Audit", "audit"]
