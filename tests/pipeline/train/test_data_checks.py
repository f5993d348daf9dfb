"""Data that a run would be wrong on are refused before it begins, and outputs while it runs."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from facemill import ConfigError, DatasetError
from facemill.detectors.forgery import ForgeryOutput
from facemill.pipeline.train import train
from tests.pipeline.data.built import FRAMES, build, samples_of, video
from tests.pipeline.train.tiny import Tiny, recipe, use


class Breaking(Tiny):
    """Gives NaN for the last crop of a validation batch, after the first epoch."""

    epochs = 0

    def forward(self, images: torch.Tensor) -> ForgeryOutput:
        logit = super().forward(images).logit
        if not self.training and self.epochs:
            logit = torch.cat([logit[:-1], logit[-1:] * torch.nan])
        return ForgeryOutput(logit)

    def after_epoch(self) -> None:
        self.epochs += 1


def test_an_output_that_is_not_finite_in_validation_ends_the_run_naming_the_sample(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Epochs end after their validation: the second is the first to break. Its first batch is of ten crops of twelve.
    with pytest.raises(ConfigError, match=r"frame 30 of video val-1 of toy is not finite in the validation of epoch 2"):
        train(use(monkeypatch, Breaking), [toy], tmp_path, recipe(), progress=False)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("label", [0, 1])
def test_a_split_of_one_class_is_refused(
    tmp_path: Path, split: str, label: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [video(f"{of}-{kind}", kind, of) for of in ("train", "val") for kind in (0, 1)]
    root = build(tmp_path / "data", samples_of([v for v in videos if (v.split, v.label) != (split, label)]))
    counts = f"{6 * label} reals and {6 * (1 - label)} fakes"
    with pytest.raises(DatasetError, match=f"Split {split} of {root} has {counts}, and training needs both"):
        train(use(monkeypatch, Tiny), [root], tmp_path / "run", recipe("train.balance=none"), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_copy_of_a_dataset_is_refused(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(toy, tmp_path / "copy")
    with pytest.raises(ConfigError, match=rf"video toy train-0 .*split train of {toy} and in split train of {copy}"):
        train(use(monkeypatch, Tiny), [toy, copy], tmp_path / "run", recipe(), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_what_it_was_trained_on(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(use(monkeypatch, Tiny), [toy], tmp_path, recipe("train.frames=2", "train.epochs=1"), progress=False)
    kept = pq.read_table(tmp_path / "trained_on.parquet").to_pylist()
    samples = {row["sample_id"]: row for row in pq.read_table(toy / "samples.parquet").to_pylist()}
    assert [row["split"] for row in kept] == ["train"] * 10 + ["val"] * 2 * len(FRAMES)
    for row in kept:
        known = samples[row["sample_id"]]
        assert all(row[key] == known[key] for key in ("dataset", "video_id", "split", "image_sha256"))
