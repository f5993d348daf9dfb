"""Degraded copies of the videos of a manifest."""

from facemill.pipeline.degrade.degrade import DegradeReport, degrade
from facemill.pipeline.degrade.encode import Degradation

__all__ = ["Degradation", "DegradeReport", "degrade"]
