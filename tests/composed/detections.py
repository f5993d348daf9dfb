"""What a detector might have found in a composed scene: misplaced a little, with misses and false alarms."""

from dataclasses import replace

import numpy as np

from facemill.detectors.face import Face
from tests.composed.people import Scene

POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def detections(scene: Scene, index: int, *, miss: float = 0.03, false: float = 0.02) -> list[tuple[str | None, Face]]:
    """Faces found in a frame, in random order, and whom each shows (None: nobody)."""
    rng = np.random.default_rng(index)
    found: list[tuple[str | None, Face]] = []
    for name, face in scene.faces(index).items():
        side = face.bbox[2] - face.bbox[0]
        box = (face.bbox + rng.normal(0, 0.03 * side, 4)).astype(np.float32)
        points = (face.landmarks + rng.normal(0, 0.02 * side, (5, 2))).astype(np.float32)
        if rng.random() >= miss:
            found.append((name, replace(face, bbox=box, landmarks=points)))
    if rng.random() < false:
        low = rng.uniform(0, 250, 2).astype(np.float32)
        found.append((None, Face(np.concatenate([low, low + 55]), 0.91, POINTS * 55 + low)))
    return [found[i] for i in rng.permutation(len(found))]
