"""Half precision and TensorFloat-32 on a GPU, and neither in full precision; what they do is tested in `tests/gpu`."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from facemill.detectors.face import retinaface
from facemill.detectors.face.torch_detector import DetectionTensors, TorchFaceDetector
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.extract.faces import load_detector

FRAMES = [np.zeros((48, 48, 3), np.uint8)]


class Recording(TorchFaceDetector):
    """Notes whether convolutions may be rounded."""

    cpu_pixels = gpu_pixels = 1 << 20
    rounded: bool

    def __init__(self) -> None:
        super().__init__(device="cpu", max_side=None, min_score=0.5, batch=8)

    create = classmethod(lambda cls, **options: cls())

    def _detect_tensors(self, frames: Sequence[np.ndarray]) -> DetectionTensors:
        self.rounded = torch.backends.cudnn.allow_tf32
        if self.fails:
            raise ValueError("full")
        return DetectionTensors(*(torch.empty(0, *shape) for shape in ((), (4,), (), (5, 2))))

    fails = False


@pytest.mark.parametrize("fails", [False, True])
def test_convolutions_are_rounded_except_in_full_precision(fails: bool) -> None:
    assert torch.backends.cudnn.allow_tf32  # PyTorch's default
    detector = Recording()
    for full in (False, True):
        detector.full_precision, detector.fails = full, fails and full
        if detector.fails:
            with pytest.raises(ValueError, match="full"):
                detector.detect(FRAMES)
        else:
            detector.detect(FRAMES)
        assert detector.rounded is not full
        assert torch.backends.cudnn.allow_tf32


def test_retinaface_is_halved_on_a_gpu_except_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def autocast(device: str, *, dtype: torch.dtype, enabled: bool) -> Any:
        asked.append(enabled)
        raise StopIteration

    monkeypatch.setattr(torch, "autocast", autocast)
    for device, full in (("cuda", False), ("cuda", True), ("cpu", False), ("cpu", True)):
        detector: Any = SimpleNamespace(device=torch.device(device), full_precision=full)
        with pytest.raises(StopIteration):
            retinaface.RetinaFace.propose(detector, torch.zeros(1))
    assert asked == [True, False, False, False]


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_the_recipe_says_which(precision: str) -> None:
    recipe = load_recipe("default", [f"detect.precision={precision}"])
    assert load_detector(recipe.detect, 40, "cpu").full_precision == (precision == "float32")
    assert recipe.work_values()["detect"]["precision"] == precision  # in the identity, and in dataset.json
