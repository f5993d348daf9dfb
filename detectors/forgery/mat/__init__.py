"""MAT: Multi-attentional Deepfake Detection (CVPR 2021)."""

__all__: list[str] = []
