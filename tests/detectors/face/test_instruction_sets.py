"""Machines with other vector units see the same faces: in 1/64 pixel, but for what lies between two of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facemill.detectors.face import create

DETECT = "import sys; from tests.detectors.face.test_instruction_sets import detect; print(detect(sys.argv[1]))"
ROOT = Path(__file__).parents[3]
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}


def detect(frames: Path | str) -> str:
    """The instruction set, and numbers of the faces in these frames, as JSON."""
    faces = [face for frame in create("mtcnn", device="cpu").detect(np.load(frames)) for face in frame]
    told = [[*face.bbox.tolist(), *face.landmarks.ravel().tolist(), face.score] for face in faces]
    return json.dumps([torch.backends.cpu.get_cpu_capability(), told])


def test_positions_are_whole_sixtyfourths(media: Path) -> None:
    group = cv2.imread(str(media / "images" / "astronaut.png"))[:, :, ::-1].copy()
    (face,) = create("mtcnn", device="cpu", max_side=300).detect([group])[0]  # shrunk by no power of two
    for pixels in (face.bbox, face.landmarks):
        assert pixels.dtype == np.float32
        assert np.array_equal(pixels * 64, np.round(pixels * 64))
    assert face.score == round(face.score, 4)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="there is no wider unit to leave out")
def test_an_older_instruction_set_sees_the_same_faces(media: Path, tmp_path: Path) -> None:
    portrait = cv2.imread(str(media / "images" / "astronaut.png"))[:, :, ::-1]
    frames = np.stack([np.roll(portrait, (17 * n, 23 * n), axis=(0, 1)) for n in range(6)])
    np.save(tmp_path / "frames.npy", frames)
    command = [sys.executable, "-c", DETECT, tmp_path / "frames.npy"]
    older = subprocess.run(command, env={**os.environ, **OLDER}, cwd=ROOT, capture_output=True, check=True)
    here, there = json.loads(detect(tmp_path / "frames.npy")), json.loads(older.stdout)
    assert (here[0], there[0]) == ("AVX512", "AVX2")
    faces, same = np.array(here[1]), np.array(there[1])
    assert faces.shape == same.shape
    assert len(faces) >= 4
    assert np.mean(faces == same) >= 0.98
    assert np.abs(faces - same).max() <= 1 / 64
