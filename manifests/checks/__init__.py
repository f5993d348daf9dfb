"""The checks of `facemill verify`, as lists of checks over columns."""

__all__: list[str] = []
