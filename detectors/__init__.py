"""Face detectors (`facemill.detectors.face`): who is in the frame."""

__all__: list[str] = []
