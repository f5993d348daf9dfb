"""LRL: Local Relation Learning for Face Forgery Detection (AAAI 2021)."""

from facemill.detectors.forgery.lrl.network import LRL, LRLOptions, LRLOutput

__all__ = ["LRL", "LRLOptions", "LRLOutput"]
