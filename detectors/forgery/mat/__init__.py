"""MAT: Multi-attentional Deepfake Detection (CVPR 2021)."""

from facemill.detectors.forgery.mat.network import MAT, MATOptions, MATOutput

__all__ = ["MAT", "MATOptions", "MATOutput"]
