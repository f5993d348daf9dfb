"""What the descriptor of a face does not depend on: the film's grain, and how large and how level the face is."""

import cv2
import numpy as np

from facemill.detectors.face import Face
from facemill.pipeline.tracking.appearance import describe, unlikeness

SIDE = 960
BOX = np.array([320, 320, 640, 640], np.float32)
POINTS = np.array([[420, 440], [540, 440], [480, 500], [430, 560], [530, 560]], np.float32)


def blobs(seed: int) -> np.ndarray:
    colours = np.random.default_rng(seed).integers(40, 216, (8, 8, 3), np.uint8)
    return cv2.resize(colours, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def look(image: np.ndarray, scale: float = 1.0, degrees: float = 0.0) -> np.ndarray:
    """The descriptor of the image's middle, once it is shrunk, and turned about its centre."""
    turn = scale * cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 1)
    size = round(scale * SIDE)
    shown = cv2.warpAffine(image, turn, (size, size), borderMode=cv2.BORDER_REPLICATE)
    return describe(shown, Face(bbox=scale * BOX, score=1.0, landmarks=cv2.transform(POINTS[None], turn)[0]))[None]


def test_a_face_is_known_again_with_grain_smaller_and_turned() -> None:
    face, grain = blobs(0), np.random.default_rng(1).integers(-40, 41, (SIDE, SIDE, 1))
    grainy = look((face + grain).clip(0, 255).astype(np.uint8))
    for other in (grainy, look(face, scale=0.5), look(face, degrees=20), look(face, degrees=-20)):
        assert unlikeness(look(face), other) < 0.08
    assert unlikeness(look(face), look(blobs(2))) > 0.8
