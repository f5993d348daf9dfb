"""Tracks of faces: links by place, size and appearance; cuts; what shows no living person."""

__all__: list[str] = []
