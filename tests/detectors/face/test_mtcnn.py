"""Our cascade against the package's own, on every picture and clip there is."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN as PackageMTCNN  # noqa: N811
from torchvision.ops import box_iou

import facemill.detectors.face
from facemill.detectors.face.mtcnn import MTCNN, MTCNNOptions, pyramid_scales
from tests.detectors.face.pictures import read_rgb

IMAGES = ["astronaut.png", *(f"dlib_{name}.jpg" for name in ("2007_007763", "2008_001322", "2008_002470"))]
IMAGES += ["dlib_2009_004587.jpg", "dlib_dogs.jpg"]
CLIPS = [f"videos/{name}" for name in ("fsgan_conan.mp4", "fsgan_shinzo.mp4", "lp_d13.mp4", "lp_d18.mp4", "lp_s29.mp4")]
CLIPS += [f"videos/{name}" for name in ("moviepy_chaplin.mp4", "moviepy_no_duration.webm", "tc_av1_video.mkv")]
CLIPS += [f"videos/{name}" for name in ("tc_h264_10bits.mp4", "tc_h265_video.mp4", "tc_nasa_13013.mp4")]
CLIPS += [f"pairs/{name}.mp4" for name in ("ghost_real", "ghost_fake_elon", "ghost_fake_mark")]
FRAMES = 2


@pytest.fixture(scope="module")
def ours() -> MTCNN:
    return MTCNN(device=torch.device("cpu"), min_score=0)


@pytest.fixture(scope="module")
def package() -> PackageMTCNN:
    return PackageMTCNN(keep_all=True, device=torch.device("cpu"))


def keyframes(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONKEY"
        for frame in islice(container.decode(video=0), FRAMES):
            yield frame.to_ndarray(format="rgb24")


def assert_parity(ours: MTCNN, package: PackageMTCNN, frame: np.ndarray) -> int:
    """Each side's faces above 0.95 have a counterpart on the other; returns how many of the package's there are."""
    boxes, scores, landmarks = package.detect(frame, landmarks=True)
    found = ours.detect([frame])[0]
    if boxes is None:
        assert found == []
        return 0
    theirs = (boxes, scores, landmarks)
    mine = tuple(np.array([getattr(face, name) for face in found]) for name in ("bbox", "score", "landmarks"))
    for (boxes_a, scores_a, points_a), (boxes_b, _, points_b) in ((theirs, mine), (mine, theirs)):
        sure = scores_a.astype(float) > 0.95
        if not sure.any():
            continue
        iou = box_iou(*(torch.tensor(np.asarray(boxes, float)) for boxes in (boxes_a[sure], boxes_b)))
        best, partner = (column.numpy() for column in iou.max(dim=1))
        assert (best >= 0.9).all()
        side = (boxes_a[sure, 2:] - boxes_a[sure, :2]).max(axis=1)
        assert (np.abs(points_a[sure] - points_b[partner]).max(axis=(1, 2)) <= 0.03 * side).all()
    return int((scores.astype(float) > 0.95).sum())


@pytest.mark.parametrize(("name", "faces"), list(zip(IMAGES, (1, 7, 3, 6, 2, 0), strict=True)))
def test_images_agree_with_the_package(media, ours, package, name, faces):
    assert assert_parity(ours, package, read_rgb(media / "images" / name)) == faces


@pytest.mark.parametrize("name", CLIPS)
def test_clips_agree_with_the_package(media, ours, package, name):
    frames = list(keyframes(media / name))
    assert frames
    for frame in frames:
        assert_parity(ours, package, frame)


def test_other_settings_agree_with_the_package(media):
    options = MTCNNOptions(min_face_size=40, factor=0.6, thresholds=(0.5, 0.6, 0.8))
    ours = MTCNN(device="cpu", min_score=0, options=options)
    package = PackageMTCNN(keep_all=True, min_face_size=40, factor=0.6, thresholds=[0.5, 0.6, 0.8])
    assert assert_parity(ours, package, read_rgb(media / "images" / "dlib_2008_001322.jpg")) == 3


def test_a_level_in_strips_is_the_level_at_once(media, monkeypatch):
    frame = read_rgb(media / "images" / "dlib_2007_007763.jpg")[:374]
    detector = facemill.detectors.face.create("mtcnn", device="cpu", min_score=0)
    whole = detector.detect([frame])[0]
    monkeypatch.setattr("facemill.detectors.face.mtcnn.CPU_STRIP", 3000)
    strips = detector.detect([frame])[0]
    assert len(strips) == len(whole) == 7
    for a, b in zip(strips, whole, strict=True):
        np.testing.assert_allclose(a.bbox, b.bbox, atol=1e-2)


def test_shrunk_frames_give_faces_in_their_own_pixels(media):
    frame = cv2.resize(read_rgb(media / "images" / "dlib_2008_001322.jpg"), None, fx=2.3, fy=2.3)
    full, shrunk = (
        sorted(
            facemill.detectors.face.create("mtcnn", device="cpu", max_side=side).detect([frame])[0],
            key=lambda f: f.bbox[0],
        )
        for side in (None, 640)
    )
    assert len(full) == len(shrunk) == 3
    for a, b in zip(full, shrunk, strict=True):
        assert box_iou(torch.tensor(a.bbox)[None], torch.tensor(b.bbox)[None]) > 0.75
        assert np.abs(a.landmarks - b.landmarks).max() < 0.1 * (a.bbox[3] - a.bbox[1])
        left_eye, right_eye, nose, left_mouth, right_mouth = b.landmarks
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert left_eye[1] < nose[1] < left_mouth[1]


def test_the_pyramid_ends_where_its_shorter_side_is_one_cell():
    assert pyramid_scales(19, 500, 20, 0.709) == []
    assert pyramid_scales(20, 500, 20, 0.5) == [0.6]
    assert pyramid_scales(80, 500, 20, 0.5) == [0.6, 0.3, 0.15]


WORKER = """
import sys
import numpy as np
import facemill.pipeline.build.groups
from facemill.detectors.face.mtcnn import MTCNN, MTCNNOptions
frame = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
assert MTCNN(device="cpu", min_score=0, options=MTCNNOptions(thresholds=(0, 0, 0))).detect([frame])[0]
print({"torchvision", "facenet_pytorch", "timm", "torch._dynamo"} & set(sys.modules))
"""


@pytest.mark.heavy
def test_a_worker_imports_no_torchvision() -> None:
    # Its import takes longer than torch's own. With thresholds of 0 all stages find something in noise.
    done = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
