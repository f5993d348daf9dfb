"""F3-Net: Thinking in Frequency: Face Forgery Detection by Mining Frequency-aware Clues (ECCV 2020)."""

__all__: list[str] = []
