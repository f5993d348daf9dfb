"""F3-Net: Thinking in Frequency: Face Forgery Detection by Mining Frequency-aware Clues (ECCV 2020)."""

from facemill.detectors.forgery.f3net.network import F3Net, F3NetOptions

__all__ = ["F3Net", "F3NetOptions"]
