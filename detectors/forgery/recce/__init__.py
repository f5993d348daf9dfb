"""RECCE: End-to-End Reconstruction-Classification Learning for Face Forgery Detection (CVPR 2022)."""

__all__: list[str] = []
