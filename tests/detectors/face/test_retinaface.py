"""RetinaFace against the `retina-face` package on the same weights, and with the real MobileNet-0.25."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

import facemill.detectors.face
from facemill.detectors.face.retinaface import RetinaFace
from tests.detectors.face.pictures import read_rgb

STRIDES = (32, 16, 8)
BASE_ANCHORS = {
    32: [[-248, -248, 263, 263], [-120, -120, 135, 135]],
    16: [[-56, -56, 71, 71], [-24, -24, 39, 39]],
    8: [[-8, -8, 23, 23], [0, 0, 15, 15]],
}


@pytest.fixture(scope="module")
def package() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFACE_BACKEND_ENGINE", "pytorch")
        from retinaface import RetinaFace as Package

        yield Package


@pytest.fixture
def detector(random_resnet50) -> RetinaFace:
    return facemill.detectors.face.create("retinaface", device="cpu", weights=random_resnet50)


def best_scores(detector: RetinaFace, frame: np.ndarray, count: int) -> float:
    """A threshold that `count` anchors pass, halfway between two scores."""
    with torch.inference_mode():
        scores = detector.network(torch.from_numpy(frame)[None]).scores[0].sort(descending=True).values
    return float(scores[count - 1 : count + 1].mean())


def package_proposals(package: ModuleType, network, frame, threshold, enlarge) -> dict[str, np.ndarray]:
    """What `detect_faces` computes before suppression, from the package's own parts."""
    preprocess, postprocess = package.preprocess, package.postprocess
    tensor, shape, scale = preprocess.preprocess_image(frame[:, :, ::-1], enlarge)
    with torch.no_grad():
        outputs = [output.numpy() for output in network(torch.from_numpy(tensor))]
    boxes, scores, landmarks = [], [], []
    for level, stride in enumerate(STRIDES):
        score, box, points = outputs[3 * level : 3 * level + 3]
        anchors = postprocess.anchors_plane(*box.shape[1:3], stride, np.array(BASE_ANCHORS[stride], np.float32))
        anchors = anchors.reshape(-1, 4)
        score = score[..., 2:].reshape(-1)
        chosen = score >= threshold
        decoded = postprocess.clip_boxes(postprocess.bbox_pred(anchors, box.reshape(-1, 4)), shape)
        boxes.append(decoded[chosen] / scale)
        scores.append(score[chosen])
        landmarks.append(postprocess.landmark_pred(anchors, points.reshape(-1, 5, 2))[chosen] / scale)
    return {"boxes": np.vstack(boxes), "scores": np.concatenate(scores), "landmarks": np.vstack(landmarks)}


# A small frame as it is, and a long one that the package enlarges to its longest side.
@pytest.mark.parametrize(
    ("size", "enlarge"), [((150, 200), False), pytest.param((24, 160), True, marks=pytest.mark.long)]
)
def test_resnet50_agrees_with_the_package(package, detector, size, enlarge):
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    detector.max_side = None if enlarge else 1000
    scale = detector.network.resize_factor(*size, enlarge=enlarge)
    assert (scale > 1) == enlarge
    network = detector.network.network
    tensor, _, package_scale = package.preprocess.preprocess_image(frame[:, :, ::-1], enlarge)
    assert scale == pytest.approx(package_scale)
    threshold = detector.min_score = best_scores(detector, tensor[0].astype(np.uint8), 150)

    expected = package_proposals(package, network, frame, threshold, enlarge)
    with torch.inference_mode():
        found = detector.propose(torch.from_numpy(tensor.astype(np.uint8)))
    assert len(found.scores) == len(expected["scores"]) == 150
    np.testing.assert_allclose(found.boxes / scale, expected["boxes"], atol=1e-2)
    np.testing.assert_allclose(found.landmarks / scale, expected["landmarks"], atol=1e-2)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-4)

    dets = np.column_stack([expected["boxes"], expected["scores"]]).astype(np.float32)
    kept = package.postprocess.cpu_nms(dets, 0.4)
    assert 5 < len(kept) < 140
    faces = detector.detect([frame])[0]
    np.testing.assert_allclose([face.bbox for face in faces], dets[kept, :4], atol=1e-2)
    np.testing.assert_allclose([face.landmarks for face in faces], expected["landmarks"][kept], atol=1e-2)

    said = package.detect_faces(frame[:, :, ::-1], threshold=threshold, model=network, allow_upscaling=enlarge)
    assert len(said) == len(faces)
    for face, answer in zip(faces, said.values(), strict=True):
        assert face.score == pytest.approx(answer["score"], abs=1e-4)
        cut = face.bbox - np.array(answer["facial_area"])  # the package truncates boxes to whole pixels
        assert (cut > -1e-2).all()
        assert (cut < 1 + 1e-2).all()
        np.testing.assert_allclose(face.landmarks, list(answer["landmarks"].values()), atol=1e-2)


@pytest.mark.parametrize(
    ("name", "faces"),
    [
        ("dlib_2007_007763.jpg", 7),
        ("dlib_2008_001322.jpg", 3),
        ("dlib_2008_002470.jpg", 6),
        ("dlib_2009_004587.jpg", 2),
        ("dlib_dogs.jpg", 0),  # at full size these weights take two of the four dogs for people
    ],
)
def test_mobilenet_finds_the_known_faces(media, mobilenet_weights, name, faces):
    detector = facemill.detectors.face.create(
        "retinaface", variant="mobilenet0.25", weights=str(mobilenet_weights), device="cpu", max_side=640
    )
    found = detector.detect([read_rgb(media / "images" / name)])[0]
    assert len(found) == faces
    for face in found:
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < max(left_mouth[1], right_mouth[1])
        assert (face.landmarks > face.bbox[:2]).all()
        assert (face.landmarks < face.bbox[2:]).all()


def test_mobilenet_agrees_with_mtcnn_on_where_faces_are(media, mobilenet_weights):
    frame = read_rgb(media / "images" / "dlib_2008_002470.jpg")
    options = {"variant": "mobilenet0.25", "weights": mobilenet_weights, "device": "cpu"}
    by_eye = [
        sorted(detector.detect([frame])[0], key=lambda face: tuple(face.landmarks[0]))
        for detector in (
            facemill.detectors.face.create("retinaface", **options),
            facemill.detectors.face.create("mtcnn", device="cpu"),
        )
    ]
    for a, b in zip(*by_eye, strict=True):
        assert np.abs(a.landmarks - b.landmarks).max() < 0.15 * (b.bbox[3] - b.bbox[1])
