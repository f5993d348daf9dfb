"""SPSL: Spatial-Phase Shallow Learning: Rethinking Face Forgery Detection in Frequency Domain (CVPR 2021)."""

__all__: list[str] = []
