"""Dense landmarks against dlib called directly, on faces as they are, turned, small, and without five landmarks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import facemill.detectors.face
from facemill import ConfigError, DetectorError
from facemill.detectors.face import Face
from facemill.pipeline.extract.annotators import annotate, landmarks68
from facemill.pipeline.extract.annotators.landmarks68 import Landmarks68

dlib = pytest.importorskip("dlib")
STAY = np.array([[1.0, 0, 0], [0, 1, 0]])
JAW, BROWS, NOSE_TIP, EYES, MOUTH = slice(0, 17), slice(17, 27), 30, slice(36, 48), slice(48, 68)


@pytest.fixture(scope="module")
def annotator() -> Landmarks68:
    return Landmarks68(Landmarks68.options_type())


@pytest.fixture(scope="module")
def faces(media: Path) -> list[tuple[np.ndarray, Face, Any]]:
    """Frames, each with a face as MTCNN finds it, and the rectangle that dlib's own detector finds for it."""
    detector, own = facemill.detectors.face.create("mtcnn", device="cpu"), dlib.get_frontal_face_detector()
    found = []
    for path in sorted((media / "images").glob("*.[jp][pn]g")):
        frame = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        rectangles = own(frame, 0)
        for face in detector.detect([frame])[0]:
            x, y = face.landmarks.mean(0)
            about = [r for r in rectangles if r.left() < x < r.right() and r.top() < y < r.bottom()]
            found += [(frame, face, r) for r in about[:1]]
    assert len(found) >= 3
    return found


def points(annotator: Landmarks68, frame: np.ndarray, face: Face, affine: np.ndarray = STAY) -> np.ndarray:
    return annotator.annotate(frame, face, np.zeros((8, 8, 3), np.uint8), affine)["points"].reshape(68, 2)


def width(face: Face) -> float:
    return float(face.bbox[2] - face.bbox[0])


@pytest.mark.heavy
def test_points_are_those_of_dlib_on_the_frame_itself(annotator: Landmarks68, faces: list) -> None:
    predictor = dlib.shape_predictor(str(landmarks68.package_folder(landmarks68.PACKAGE, "") / landmarks68.FILE))
    for frame, face, rectangle in faces:
        directly = np.array([(p.x, p.y) for p in predictor(frame, rectangle).parts()]) + 0.5
        away = np.linalg.norm(points(annotator, frame, face) - directly, axis=1) / width(face)
        assert away.mean() < 0.025
        assert away[MOUTH].mean() < 0.025


def test_the_predictor_sees_faces_as_dlib_s_detector_shows_them_to_it(faces: list) -> None:
    for five in (True, False):
        shapes = [face if five else replace(face, landmarks=np.zeros((5, 2), np.float32)) for _, face, _ in faces]
        squares = [landmarks68.face_square(face) for face in shapes]
        zooms = [np.sqrt(np.linalg.det(square[:, :2])) for square in squares]
        widths = [rectangle.width() for *_, rectangle in faces]
        assert np.median([200 / zoom / wide for zoom, wide in zip(zooms, widths, strict=True)]) == pytest.approx(
            1, abs=0.1
        )
        middles = [(r.left() + r.width() / 2, r.top() + r.height() / 2) for *_, r in faces]
        away = [
            (square[:, :2] @ middle + square[:, 2] - 200) / 200 for square, middle in zip(squares, middles, strict=True)
        ]
        assert np.abs(np.median(away, axis=0)).max() < 0.06


def test_points_lie_where_the_five_landmarks_do(annotator: Landmarks68, faces: list) -> None:
    for frame, face, _ in faces:
        found = points(annotator, frame, face)
        centres = [found[36:42].mean(0), found[42:48].mean(0), found[NOSE_TIP], found[48], found[54]]
        assert np.linalg.norm(np.array(centres) - face.landmarks, axis=1).max() < 0.12 * width(face)
        assert found[JAW, 1].max() > found[MOUTH, 1].max() > found[EYES, 1].max() > found[BROWS, 1].min()


@pytest.mark.parametrize("degrees", [40, -100])
def test_a_turned_face_has_its_points_turned(annotator: Landmarks68, faces: list, degrees: float) -> None:
    for frame, face, _ in faces[:3]:
        x, y = map(float, face.landmarks.mean(0))
        turn = cv2.getRotationMatrix2D((x, y), degrees, 1)
        corners = np.array([face.bbox[[0, 1]], face.bbox[[2, 1]], face.bbox[[2, 3]], face.bbox[[0, 3]]]) @ turn[:, :2].T
        box = np.concatenate([corners.min(0), corners.max(0)]) + np.tile(turn[:, 2], 2)
        turned = replace(face, bbox=box, landmarks=face.landmarks @ turn[:, :2].T + turn[:, 2])
        found = points(annotator, cv2.warpAffine(frame, turn, frame.shape[1::-1]), turned)
        expected = points(annotator, frame, face) @ turn[:, :2].T + turn[:, 2]
        assert np.linalg.norm(found - expected, axis=1).mean() < 0.025 * width(face)


def test_points_are_in_pixels_of_the_crop_and_finer_than_those_of_a_small_face(annotator, faces: list) -> None:
    frame, face, _ = faces[0]
    affine = np.array([[0.5, 0.1, -20], [-0.1, 0.5, 7]])
    there = points(annotator, frame, face)
    assert points(annotator, frame, face, affine) == pytest.approx(there @ affine[:, :2].T + affine[:, 2])
    half = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = points(annotator, half, replace(face, bbox=face.bbox / 2, landmarks=face.landmarks / 2))
    assert np.linalg.norm(2 * small - there, axis=1).mean() < 0.02 * width(face)


def test_a_face_without_five_landmarks_is_placed_by_its_box(annotator: Landmarks68, faces: list) -> None:
    for frame, face, _ in faces:
        found = points(annotator, frame, replace(face, landmarks=np.zeros((5, 2), np.float32)))
        away = np.linalg.norm(found - points(annotator, frame, face), axis=1)
        assert away.mean() < 0.06 * width(face)


def test_values_are_what_is_declared_and_equal_each_time(annotator: Landmarks68, faces: list) -> None:
    frame, face, _ = faces[0]
    crop = np.zeros((64, 64, 3), np.uint8)
    first, again = (annotate({"landmarks68": annotator}, frame, face, crop, STAY) for _ in range(2))
    assert list(first.values) == ["landmarks68_points"]
    assert first == again
    edge = replace(face, bbox=np.array([-90, -90, 10, 10], np.float32), landmarks=np.full((5, 2), -40, np.float32))
    assert np.isfinite(annotate({"landmarks68": annotator}, frame, edge, crop, STAY).values["landmarks68_points"]).all()


def test_a_missing_library_or_damaged_weights_are_one_sentence(
    monkeypatch, annotator: Landmarks68, faces: list
) -> None:
    monkeypatch.setattr(landmarks68, "SHA256", "0" * 64)
    landmarks68._predictor.cache_clear()
    with pytest.raises(DetectorError, match=r"missing or damaged: reinstall face_recognition_models"):
        points(annotator, *faces[0][:2])
    monkeypatch.setattr(landmarks68, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r'needs the package dlib-bin: pip install "facemill\[landmarks\]"'):
        Landmarks68(Landmarks68.options_type())
