from collections import Counter
from pathlib import Path

import cv2
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from facemill import DatasetError, DetectorError
from facemill.detectors.forgery import create
from facemill.manifests.codes import MaskKind
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.figures.explain import choose_samples, draw_explanations
from tests.manifests.small_dataset import Parts


def table(videos: dict[tuple[str, str], int]) -> pa.Table:
    """Rows of samples: the number given of each method's video."""
    rows = [
        {"label": int(method != "real"), "dataset": "ffpp", "method": method, "video_id": video}
        for (method, video), count in videos.items()
        for _ in range(count)
    ]
    return pa.Table.from_pylist(rows)


def methods_of(samples: pa.Table, rows: list[int]) -> list[str]:
    return samples["method"].take(pa.array(rows)).to_pylist()


MANY = table({("real", "r1"): 40, ("FaceSwap", "f1"): 3, ("FaceSwap", "f2"): 90, ("Deepfakes", "d1"): 2})


def test_methods_take_turns_with_the_reals_first():
    assert methods_of(MANY, choose_samples(MANY, 7, 0)) == ["real", "Deepfakes", "FaceSwap"] * 2 + ["real"]


def test_every_video_gives_a_frame_before_one_gives_two():
    rows = choose_samples(MANY, 12, 0)
    assert len(set(rows)) == 12
    swaps = [video for video in MANY["video_id"].take(pa.array(rows)).to_pylist() if video.startswith("f")]
    assert set(swaps[:2]) == {"f1", "f2"}
    assert sorted(Counter(swaps).values()) == [2, 3]


def test_the_choice_is_the_seeds_and_ends_with_the_samples():
    assert choose_samples(MANY, 8, 3) == choose_samples(MANY, 8, 3)
    assert choose_samples(MANY, 8, 3) != choose_samples(MANY, 8, 4)
    assert sorted(choose_samples(MANY, 1000, 0)) == list(range(135))


class Mapped(type(create("resnet18", size=32))):  # type: ignore[misc]
    """A detector with two maps of its own: one the picture's brightness in 4 x 4 cells, one constant."""

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        assert not self.training
        cells = torch.nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 4)[:, 0]
        return {"brightness": cells, "constant": torch.zeros(len(images), 2, 2)}


@pytest.fixture(scope="module")
def detector() -> Mapped:
    return Mapped(create("resnet18", size=32).options)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    parts = Parts()
    parts.change(4, mask_kind=MaskKind.NONE, mask_coverage=None)
    return parts.write(tmp_path_factory.mktemp("data") / "parquet")


def test_a_sheet_has_a_row_per_crop_and_a_column_per_picture(detector, dataset, tmp_path):
    (path,) = draw_explanations(detector, FaceDataset(dataset, "train"), tmp_path, rows=6)
    sheet = cv2.imread(str(path))
    assert path == tmp_path / "explanations-01.png"
    assert sheet.shape == (2 * 20 + 56 + 6 * 190, 2 * 20 + 5 * 170 - 10, 3)  # cells of 160 with gaps and captions
    first = FaceDataset(dataset, "train")[choose_samples(FaceDataset(dataset, "train").samples, 1, 0)[0]]
    crop = cv2.resize(first["image"].permute(1, 2, 0).numpy(), (160, 160), interpolation=cv2.INTER_CUBIC)
    assert (sheet[96:256, 20:180, ::-1] == crop).all()


def test_streams_give_the_same_pictures(detector, dataset, tmp_path):
    parts = Parts()
    parts.change(4, mask_kind=MaskKind.NONE, mask_coverage=None)
    tar = parts.write(tmp_path / "tar", "webdataset")
    (one,) = draw_explanations(detector, FaceDataset(dataset, "train"), tmp_path / "one", rows=3)
    (two,) = draw_explanations(detector, FaceDataset(tar, "train"), tmp_path / "two", rows=3)
    assert one.read_bytes() == two.read_bytes()


def test_long_choices_fill_several_sheets(detector, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("facemill.pipeline.figures.explain._ROWS_A_SHEET", 4)
    paths = draw_explanations(detector, FaceDataset(dataset, "train"), tmp_path, rows=20)
    assert [path.name for path in paths] == ["explanations-01.png", "explanations-02.png"]
    heights = [cv2.imread(str(path)).shape[0] for path in paths]
    assert heights[0] - heights[1] == 2 * 190  # six samples: four rows, then two


def test_nothing_to_draw_is_said(detector, dataset, tmp_path):
    with pytest.raises(DatasetError, match="no face crop to explain"):
        draw_explanations(detector, FaceDataset(dataset, "train"), tmp_path, rows=0)


def test_scores_that_are_not_finite_are_an_error_that_names_the_sample(dataset, tmp_path):
    broken = Mapped(create("resnet18", size=32).options)
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    with pytest.raises(DetectorError, match="frame 0 of video ffpp-real-c23-000 of ffpp is not finite"):
        draw_explanations(broken, FaceDataset(dataset, "train"), tmp_path, rows=6)
    assert not list(tmp_path.iterdir())
