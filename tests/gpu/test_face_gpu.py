"""Face detection on a GPU agrees with the CPU."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

import facemill.detectors.face
from facemill.detectors.face import Face
from facemill.detectors.face.area_sampling import AreaSampler
from tests.detectors.face.conftest import mobilenet_weights  # noqa: F401 - a fixture
from tests.detectors.face.pictures import read_rgb

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

IMAGES = ["dlib_2007_007763.jpg", "dlib_2008_001322.jpg", "dlib_2008_002470.jpg", "dlib_2009_004587.jpg"]


def assert_close(left: list[Face], right: list[Face], share: float) -> None:
    """Same faces, each coordinate within a share of the box's height."""
    assert len(left) == len(right)
    by_place = [sorted(faces, key=lambda face: tuple(face.bbox)) for faces in (left, right)]
    for a, b in zip(*by_place, strict=True):
        tolerance = share * (b.bbox[3] - b.bbox[1])
        np.testing.assert_allclose(a.bbox, b.bbox, atol=tolerance)
        np.testing.assert_allclose(a.landmarks, b.landmarks, atol=tolerance)


def test_integral_images_are_the_same():
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 61, 83, 3), np.uint8))
    expected = interpolate(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float(), size=(37, 50), mode="area")
    sampled = AreaSampler(frames, torch.device("cuda")).resize(37, 50, range(37))
    torch.testing.assert_close(sampled.cpu(), (expected - 127.5) / 128, atol=1e-5, rtol=0)


def test_mtcnn_agrees_with_the_cpu(media):
    frames = [read_rgb(media / "images" / name) for name in IMAGES]
    gpu, cpu = (facemill.detectors.face.create("mtcnn", device=device).detect(frames) for device in ("cuda", "cpu"))
    for left, right in zip(gpu, cpu, strict=True):
        assert right
        assert_close(left, right, 0.02)


def test_retinaface_in_half_precision_agrees_with_the_cpu(media, mobilenet_weights):  # noqa: F811
    frames = [read_rgb(media / "images" / name) for name in IMAGES]
    options = {"variant": "mobilenet0.25", "weights": mobilenet_weights, "min_score": 0.8}
    gpu, cpu = (
        facemill.detectors.face.create("retinaface", device=device, **options).detect(frames)
        for device in ("cuda", "cpu")
    )
    for left, right in zip(gpu, cpu, strict=True):
        assert right
        assert_close(left, right, 0.05)


@pytest.mark.parametrize("name", ["mtcnn", "retinaface"])
def test_full_precision_differs_from_the_cpu_by_rounding_only(media, mobilenet_weights, name):  # noqa: F811
    frames = [read_rgb(media / "images" / image) for image in IMAGES]
    options = {"variant": "mobilenet0.25", "weights": mobilenet_weights} if name == "retinaface" else {}
    gpu, cpu = (
        facemill.detectors.face.create(name, device=device, full_precision=True, **options).detect(frames)
        for device in ("cuda", "cpu")
    )
    for left, right in zip(gpu, cpu, strict=True):
        assert len(left) == len(right) > 0
        for a, b in zip(left, right, strict=True):
            np.testing.assert_allclose(a.bbox, b.bbox, atol=1 / 16)
            np.testing.assert_allclose(a.landmarks, b.landmarks, atol=1 / 16)
