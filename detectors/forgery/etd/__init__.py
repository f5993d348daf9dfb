"""ETD: Exposing the Deception, Uncovering More Forgery Clues for Deepfake Detection (AAAI 2024)."""

__all__: list[str] = []
