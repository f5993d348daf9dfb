"""Face detectors behind one interface: frames in, faces in pixel coordinates of those frames out.

detector = detectors.face.create("mtcnn", device="auto", max_side=640)
faces = detector.detect(frames)  # a list of `Face` for each frame, best score first
"""

from facemill.detectors.face.base import Face, FaceDetector, detection_side
from facemill.detectors.face.creation import create

__all__ = ["Face", "FaceDetector", "create", "detection_side"]
