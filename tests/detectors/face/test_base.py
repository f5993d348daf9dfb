"""What all face detectors share, with one that sees what it is told to see."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facemill.detectors.face.base import Detections, FaceDetector


class Told(FaceDetector):
    """Sees one face in each frame, a box in shares of its input; keeps the inputs."""

    cpu_pixels = gpu_pixels = 10**7
    smallest_face = 20.0

    def __init__(self, scores: Sequence[float] = (1.0,), **options: Any) -> None:
        super().__init__(**{"max_side": None, "min_score": 0.9, "batch": 8, **options})
        self.scores, self.inputs = scores, []

    @classmethod
    def create(cls, **options: Any) -> "Told":
        raise NotImplementedError

    def _detect_batch(self, frames: Sequence[NDArray[np.uint8]]) -> Detections:
        self.inputs += frames
        height, width = np.stack(frames).shape[1:3]  # which fails if sizes differ
        count = len(frames) * len(self.scores)
        box = np.array([0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height], np.float32)
        return Detections(
            np.repeat(np.arange(len(frames)), len(self.scores)),
            np.tile(box, (count, 1)),
            np.array([*self.scores] * len(frames), np.float32),
            np.tile(box.reshape(2, 2).mean(axis=0), (count, 5, 1)).astype(np.float32),
        )


def frame(height: int, width: int) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def test_faces_below_the_score_are_dropped_and_the_others_come_by_score() -> None:
    found = Told([0.8, 0.91, 0.99, 0.9]).detect([frame(40, 40), frame(40, 40)])
    assert [[face.score for face in faces] for faces in found] == [[0.99, 0.91, 0.9]] * 2
    assert Told([0.8]).detect([frame(40, 40)]) == [[]]


@pytest.mark.parametrize(("height", "width"), [(33, 1001), (1001, 33), (250, 250)])
def test_boxes_of_shrunk_frames_are_scaled_back_by_each_side(height: int, width: int) -> None:
    """Of 33 rows at a tenth remain 3: 11 to one, but 1001 columns come to 100."""
    detector = Told(max_side=100)
    [[face]] = detector.detect([frame(height, width)])
    assert max(detector.inputs[0].shape) == 100
    expected = [0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height]
    assert face.bbox == pytest.approx(expected, abs=1 / 64)
    assert face.landmarks == pytest.approx(np.tile([width / 2, height / 2], (5, 1)), abs=1 / 64)


def test_shrunk_frames_are_means_and_not_chosen_pixels() -> None:
    detector = Told(max_side=50)
    checked = (np.indices((100, 100)).sum(axis=0) % 2 * 255).astype(np.uint8)
    detector.detect([np.repeat(checked[..., None], 3, axis=2)])
    assert np.abs(detector.inputs[0].astype(int) - 127).max() <= 1


def test_frames_of_several_sizes_keep_their_faces() -> None:
    sizes = [(40, 50), (50, 40), (40, 50), (60, 60)]
    found = Told().detect([frame(*size) for size in sizes])
    assert [face.bbox.tolist() for [face] in found] == [[w / 4, h / 4, w * 3 / 4, h * 3 / 4] for h, w in sizes]
