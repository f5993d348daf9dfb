"""LRL: Local Relation Learning for Face Forgery Detection (AAAI 2021)."""

__all__: list[str] = []
