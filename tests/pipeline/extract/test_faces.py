"""Faces as detectors give them, and as faces.parquet keeps them."""

import numpy as np

from facemill.detectors.face import Face
from facemill.pipeline.extract.faces import faces_of, frame_faces, whole_image


def test_faces_are_read_back_as_they_were_written(rng: np.random.Generator) -> None:
    boxes, points = rng.uniform(0, 640, (2, 4)).astype(np.float32), rng.uniform(0, 640, (2, 5, 2)).astype(np.float32)
    record = frame_faces("key", "video", 7, [Face(boxes[0], 0.5, points[0]), Face(boxes[1], 0.25, points[1])])
    assert (record.key, record.video_id, record.frame_index, record.scores) == ("key", "video", 7, (0.5, 0.25))
    again = faces_of(record)
    assert [face.score for face in again] == [0.5, 0.25]
    for face, box, landmarks in zip(again, boxes, points, strict=True):
        assert face.bbox.dtype == face.landmarks.dtype == np.float32
        np.testing.assert_array_equal(face.bbox, box)
        np.testing.assert_array_equal(face.landmarks, landmarks)


def test_a_face_that_fills_an_image_has_its_size_and_no_landmarks() -> None:
    face = whole_image(np.zeros((30, 40, 3), np.uint8))
    assert (face.bbox.tolist(), face.score, face.landmarks.tolist()) == ([0, 0, 40, 30], 0, [[0, 0]] * 5)
    assert face.bbox.dtype == face.landmarks.dtype == np.float32
