"""RECCE: End-to-End Reconstruction-Classification Learning for Face Forgery Detection (CVPR 2022)."""

from facemill.detectors.forgery.recce.network import RECCE, RECCEOptions, RECCEOutput

__all__ = ["RECCE", "RECCEOptions", "RECCEOutput"]
