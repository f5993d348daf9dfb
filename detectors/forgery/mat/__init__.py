"""MAT: Multi-attentional Deepfake Detection (CVPR 2021)."""
