"""SIA: An Information Theoretic Approach for Attention-Driven Face Forgery Detection (ECCV 2022)."""

from facemill.detectors.forgery.sia.network import SIA, Position, SIAOptions, SIAOutput

__all__ = ["SIA", "Position", "SIAOptions", "SIAOutput"]
