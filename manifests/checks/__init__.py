"""What `facemill verify` checks, as lists of checks over columns."""

__all__: list[str] = []
