"""SOLA: Learning Second Order Local Anomaly for General Face Forgery Detection (CVPR 2022)."""

__all__: list[str] = []
