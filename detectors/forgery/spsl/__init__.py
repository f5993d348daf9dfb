"""SPSL: Spatial-Phase Shallow Learning: Rethinking Face Forgery Detection in Frequency Domain (CVPR 2021)."""

from facemill.detectors.forgery.spsl.network import SPSL, SPSLOptions

__all__ = ["SPSL", "SPSLOptions"]
