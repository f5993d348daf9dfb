"""SOLA: Learning Second Order Local Anomaly for General Face Forgery Detection (CVPR 2022)."""

from facemill.detectors.forgery.sola.network import SOLA, SOLAOptions, SOLAOutput

__all__ = ["SOLA", "SOLAOptions", "SOLAOutput"]
