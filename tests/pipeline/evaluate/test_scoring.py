from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from facemill import DetectorError
from facemill.detectors.forgery import ForgeryDetector, ForgeryOptions, ForgeryOutput, InputSpec
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.corruptions import Corruption
from facemill.pipeline.evaluate.scores import SCORES, name_groups
from facemill.pipeline.evaluate.scoring import score_faces
from tests.manifests.small_dataset import Parts


class Brightness(ForgeryDetector):
    """Log-odds: a hundred times the mean of the values it is given."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(ForgeryOptions(size=size))
        self.input_spec = InputSpec(size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.gain = nn.Parameter(torch.tensor(100.0))
        self.dropout = nn.Dropout(0.5)

    @property
    def cam_layer(self) -> nn.Module:
        return self.dropout

    def forward(self, images: Tensor) -> ForgeryOutput:
        return ForgeryOutput(self.dropout(images).mean((1, 2, 3)) * self.gain)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return Parts().write(tmp_path_factory.mktemp("data") / "parquet")


@pytest.fixture(scope="module")
def scores(dataset) -> pa.Table:
    return score_faces(Brightness(), FaceDataset(dataset, "train"), batch=4)


def test_a_row_per_sample_in_their_order(dataset, scores, tmp_path):
    samples = pq.read_table(dataset / "samples.parquet").filter(pa.compute.field("split") == "train")
    assert scores.schema == SCORES
    for name in ("sample_id", "video_id", "method", "label", "frame_index"):
        assert scores[name].to_pylist() == samples[name].to_pylist()
    assert set(scores["corruption"].to_pylist()) == {"none"}
    assert set(scores["severity"].to_pylist()) == {0}
    pq.write_table(scores, tmp_path / "scores.parquet")
    assert pq.read_table(tmp_path / "scores.parquet").equals(scores)


def test_logits_are_the_detectors_in_eval_mode_and_scores_their_sigmoid(dataset, scores):
    faces = FaceDataset(dataset, "train")
    means = [faces[index]["image"].double().mean() / 255 for index in range(len(faces))]  # resizing hardly moves a mean
    assert scores["logit"].to_numpy() == pytest.approx([100 * (2 * float(mean) - 1) for mean in means], abs=0.5)
    logits = scores["logit"].to_numpy().astype(np.float64)
    assert scores["score"].to_numpy() == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-12)


def test_workers_batches_and_shard_formats_change_nothing(dataset, scores, tmp_path):
    streamed = FaceDataset(Parts().write(tmp_path / "tar", "webdataset"), "train")
    again = score_faces(Brightness(), streamed, batch=2, workers=2)
    assert again["sample_id"].equals(scores["sample_id"])
    assert again["logit"].to_numpy() == pytest.approx(scores["logit"].to_numpy(), abs=1e-4)


def test_corrupted_pictures_are_scored_and_named(dataset, scores):
    faces = FaceDataset(dataset, "train")
    worse = score_faces(Brightness(), faces, corruption=Corruption("contrast", 5))
    assert set(worse["corruption"].to_pylist()) == {"contrast"}
    assert set(worse["severity"].to_pylist()) == {5}
    # Values of 0..1 are scaled by 0.35 before they are normalised to -1..1.
    clean = scores["logit"].to_numpy() / 100
    assert worse["logit"].to_numpy() / 100 == pytest.approx((clean + 1) * 0.35 - 1, abs=0.003)


def test_mixed_precision_and_progress(dataset, scores):
    done = []
    rows = score_faces(Brightness(), FaceDataset(dataset, "train"), batch=4, precision="bf16", on_progress=done.append)
    assert done == [4, 2]
    assert rows["logit"].to_numpy() == pytest.approx(scores["logit"].to_numpy(), abs=1)


def test_an_output_that_is_not_finite_is_an_error_that_names_the_sample(dataset):
    class Breaking(Brightness):
        def forward(self, images: Tensor) -> ForgeryOutput:
            return ForgeryOutput(super().forward(images).logit * torch.tensor([1.0, torch.nan, torch.inf]))

    with pytest.raises(DetectorError, match="frame 12 of video ffpp-real-c23-000 of ffpp is not finite"):
        score_faces(Breaking(), FaceDataset(dataset, "train"), batch=3)


def test_a_clip_group_is_an_original_with_its_fakes_in_all_qualities(scores):
    assert dict(zip(scores["video_id"].to_pylist(), scores["group"].to_pylist(), strict=True)) == {
        "ffpp-real-c23-000": "ffpp ffpp-real-000",
        "ffpp-deepfakes-c23-000_003": "ffpp ffpp-real-000",
    }
    rows = [
        {"dataset": dataset, "video_id": video, "method": method, "quality": quality, "source_id": source}
        for dataset, video, method, quality, source in (
            ("ffpp", "ffpp-real-c40-000", "real", "c40", None),
            ("ffpp", "ffpp-swap-c40-000_003", "swap", "c40", "ffpp-real-c40-000"),
            ("ffpp", "ffpp-swap-c23-000_003", "swap", "c23", "ffpp-real-c23-000"),
            ("ffpp", "ffpp-swap-c23-999_003", "swap", "c23", None),  # its original is not known
            ("other", "ffpp-real-c40-000", "real", "c40", None),
        )
    ]
    assert name_groups(pa.Table.from_pylist(rows)).to_pylist() == [
        *["ffpp ffpp-real-000"] * 3,
        "ffpp ffpp-swap-999_003",
        "other ffpp-real-000",
    ]
