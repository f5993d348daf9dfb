"""A detector for whose batches a GPU's memory is too small: batches are halved, and the dataset stays the same."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from facemill import ConfigError
from facemill.detectors.face.torch_detector import DetectionTensors, TorchFaceDetector
from facemill.manifests.shards.dataset import read_dataset
from facemill.manifests.shards.summary import summarise
from facemill.pipeline.build.identity import device_kind
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.build.test_shard import BIG, FRAMES
from tests.pipeline.conftest import MarkDetector, film


class FullDetector(TorchFaceDetector):
    """Finds the marks; its memory holds `most` frames, and it notes how many each pass was given."""

    cpu_pixels = gpu_pixels = 1 << 30

    def __init__(self, most: int, batch: int = 32) -> None:
        super().__init__(device="cpu", max_side=None, min_score=0.5, batch=batch)
        self.most, self.passes = most, list[int]()

    create = classmethod(lambda cls, **options: cls(32))

    def _detect_tensors(self, frames: Sequence[np.ndarray]) -> DetectionTensors:
        self.passes.append(len(frames))
        if len(frames) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        found = [(index, face) for index, faces in enumerate(MarkDetector().detect(frames)) for face in faces]
        return DetectionTensors(
            torch.tensor([index for index, _ in found], dtype=torch.long),
            torch.from_numpy(np.array([face.bbox for _, face in found], np.float32).reshape(-1, 4)),
            torch.tensor([face.score for _, face in found]),
            torch.from_numpy(np.array([face.landmarks for _, face in found], np.float32).reshape(-1, 5, 2)),
        )


def marked(count: int) -> list[np.ndarray]:
    """Frames whose mark moves, so that a face of another frame is noticed."""
    return list(film([BIG], count))


def test_a_batch_that_does_not_fit_is_halved_and_so_are_all_later_ones() -> None:
    frames = marked(13)
    whole, full = FullDetector(32), FullDetector(3)
    expected, found = whole.detect(frames), full.detect(frames)
    assert [[face.bbox.tolist() for face in faces] for faces in found] == [
        [face.bbox.tolist() for face in faces] for faces in expected
    ]
    assert len({face.bbox[0] for faces in found for face in faces}) == 13
    assert (full.halvings, full.passes) == (4, [13, 7, 4, 2, 2, 3, 6, 3, 3])
    assert (whole.halvings, whole.passes) == (0, [13])
    full.passes.clear()
    full.detect(frames)
    assert (full.halvings, full.passes) == (4, [2] * 6 + [1])


def test_a_frame_that_does_not_fit_by_itself_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        FullDetector(0).detect(marked(2))


@pytest.fixture
def videos(add_video: Callable) -> list:
    real = add_video("real", film([BIG], FRAMES))
    return [real, add_video("fake", film([BIG], FRAMES, forged=0), 1, source_id="real")]


def test_a_build_whose_gpu_is_too_small_gives_the_same_dataset_and_says_so(
    videos: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=6"])
    infos = {}
    for name, most in (("whole", 32), ("full", 2)):
        detector = FullDetector(most)
        monkeypatch.setattr("facemill.pipeline.build.groups.load_detector", lambda *_, detector=detector: detector)
        report = build(videos, recipe, tmp_path / name, executor="sequential", device="cpu")
        assert (report.failures, report.samples) == (0, 12)
        infos[name] = read_dataset(tmp_path / name)
        [count] = summarise(tmp_path / name).devices
        assert (count.device, count.clips, count.halvings) == ("cpu", 1, detector.halvings)
        assert (detector.halvings > 0) == (name == "full")
    assert infos["whole"] == infos["full"]
    assert infos["full"].device == device_kind("cpu")
    tables = {table.title: table.rows for table in summarise(tmp_path / "full").tables()}
    assert tables[f"Devices: {device_kind('cpu')}"][0][1:] == ("cpu", "1", str(detector.halvings), "0", "", "")


def test_halvings_of_earlier_shards_are_not_counted_again(
    videos: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = FullDetector(32)
    detector.halvings = 7
    monkeypatch.setattr("facemill.pipeline.build.groups.load_detector", lambda *_: detector)
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=3"])
    build(videos, recipe, tmp_path / "out", executor="sequential", device="cpu")
    result = json.loads((tmp_path / "out" / "_state" / "train-000000.json").read_text())
    assert [use["halvings"] for use in result["devices"].values()] == [0]


def test_where_no_frame_fits_the_failure_is_not_the_videos_and_is_tried_again(
    videos: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=3"])
    detector = FullDetector(0)
    monkeypatch.setattr("facemill.pipeline.build.groups.load_detector", lambda *_: detector)
    with pytest.raises(ConfigError, match=r"same reason, out_of_memory .*run the same command again"):
        build(videos, recipe, tmp_path / "out", executor="sequential", device="cpu")
    detector.most = 32
    assert build(videos, recipe, tmp_path / "out", executor="sequential", device="cpu").failures == 0
