"""Face detectors (`facemill.detectors.face`) and forgery detectors (`facemill.detectors.forgery`)."""

__all__: list[str] = []
