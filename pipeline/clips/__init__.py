"""Clips: which videos are read together, and their sampled frames, decoded ahead in a thread."""

__all__: list[str] = []
