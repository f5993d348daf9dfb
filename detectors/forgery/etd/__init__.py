"""ETD: Exposing the Deception, Uncovering More Forgery Clues for Deepfake Detection (AAAI 2024)."""

from facemill.detectors.forgery.etd.network import ETD, ETDOptions, ETDOutput, LocalBlocks

__all__ = ["ETD", "ETDOptions", "ETDOutput", "LocalBlocks"]
