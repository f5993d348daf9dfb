"""A run's model card: what it was trained on and how, figures with intervals, and the licence of its weights."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from facemill.manifests.storage import sha256_of
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.calibration import choose_thresholds, fit_temperature
from facemill.pipeline.evaluate.intervals import judge
from facemill.pipeline.evaluate.metrics import compute_metrics, score_videos
from facemill.pipeline.evaluate.scoring import score_faces
from facemill.pipeline.runs import load_run
from facemill.pipeline.runs.folder import RunConfig, read_config
from facemill.pipeline.train import TrainResult
from facemill.pipeline.train.card import write_card
from tests.pipeline.evaluate.score_rows import random_frames


def write(finished: TrainResult, run: Path, folder: Path, scores: Any = None, **values: Any) -> str:
    """The card of a copy of a run with other values in its configuration."""
    run.mkdir(parents=True, exist_ok=True)
    for name in ("conditions.json", "trained_on.parquet"):
        shutil.copy(finished.run / name, run)
    config: RunConfig = read_config(finished.run)
    options = {**config.options, **values.pop("options", {})}
    config = config.model_copy(update={"options": options, **values})
    best = {"epoch": 1.0, "val_loss": 0.25, "val_auc": 0.75, "val_acc": 0.5}
    write_card(run, config, [folder], best, scores)
    return (run / "README.md").read_text()


def head_of(card: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return content


def test_a_finished_run_has_a_card(finished: TrainResult, toy: Path) -> None:
    card = (finished.run / "README.md").read_text()
    head = head_of(card)
    assert (head["library_name"], head["license"], head["pipeline_tag"]) == (
        "facemill",
        "other",
        "image-classification",
    )
    assert "mat" in head["tags"]
    assert sha256_of(toy / "dataset.json") in card
    assert "| `toy` | `train` | 30 | 5 |\n| `toy` | `val` | 12 | 2 |" in card
    assert f"in epoch {finished.best_epoch + 1} of 3, whose weights these are; loss" in card
    recipe = json.loads(card.partition("```json\n")[2].partition("\n```")[0])
    assert (recipe["detector"], recipe["train"]["batch"]) == ("mat", 12)
    assert '"device": "cpu"' in card
    assert re.search(r"torch \d", card)


def test_its_figures_are_those_of_the_released_weights(finished: TrainResult, toy: Path) -> None:
    card = (finished.run / "README.md").read_text()
    rows = score_faces(load_run(finished.run)[0], FaceDataset(toy, "val", fields=()))
    found = compute_metrics(*(rows[name].to_numpy() for name in ("score", "label", "logit")))
    line = next(line for line in card.splitlines() if line.startswith("| frames"))
    assert found["auc"] == pytest.approx(finished.metrics["val_auc"], abs=1e-6)
    assert f"{found['auc']:.4f} (interval not known)" in line  # there is one video of each class


def test_the_manifest_is_named_by_its_hash(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "data/_state").mkdir(parents=True)
    (tmp_path / "data/_state/build.json").write_text(json.dumps({"manifest": "abc123"}))
    assert "| `abc123` |" in write(finished, tmp_path / "run", tmp_path / "data")
    card = write(finished, tmp_path / "run", toy)
    assert "| not recorded |" in card
    assert "AUC of frames: 0.7500; accuracy: 0.5000; intervals are not known." in card  # of an older checkpoint


def test_intervals_are_those_of_resampled_groups(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    frames = random_frames({"swap": 0.5, "edit": 0.1})
    card = write(finished, tmp_path / "run", toy, frames)
    for unit, rows in (("frames", frames), ("videos", score_videos(frames))):
        line = next(line for line in card.splitlines() if line.startswith(f"| {unit}"))
        for low, high in (judge([rows])["intervals"][metric] for metric in ("acc", "auc", "eer")):
            assert f"({low:.4f} to {high:.4f})" in line


def test_it_has_thresholds_and_temperature(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    frames = random_frames({"swap": 0.5, "edit": 0.1})
    card = write(finished, tmp_path / "run", toy, frames)
    chosen, temperature = choose_thresholds(frames), fit_temperature(frames["logit"], frames["label"])
    assert f"balanced accuracy: frames {chosen.frame:.4f}, videos {chosen.video:.4f}. " in card
    assert f"Temperature of the log-odds: {temperature:.4f}" in card


def test_the_licence_is_that_of_the_first_weights(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    def licence(**values: Any) -> tuple[str, dict[str, Any]]:
        card = write(finished, tmp_path / "run", toy, **values)
        return card.partition("## License\n\n")[2].partition("##")[0], head_of(card)

    pretrained = {"pretrained": True, "backbone": "resnet34.tv_in1k"}
    text, head = licence(options=pretrained)
    assert "`resnet34.tv_in1k`, whose licence is: `bsd-3-clause`" in text
    assert head["base_model"] == "timm/resnet34.tv_in1k"
    text, head = licence(options={**pretrained, "weights": "/home/me/mine.pth"})
    assert "your own file `mine.pth`, whose terms apply" in text
    assert "base_model" not in head
    assert "the run `first` (SHA-256 12ab)" in licence(init_from="/runs/first", init_sha256="12ab")[0]
    text, head = licence(options={"pretrained": True, "backbone": "mine"})
    assert "`mine`, whose licence is: `not stated by timm`" in text
    assert "base_model" not in head
    assert "from no weights of others" in licence(options={"pretrained": False})[0]


def test_foreign_text_stays_text(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data`|<b>\x1b[31m"
    card = write(finished, tmp_path / "run\n# Title", folder, crop={"around": "`|\n```\n# Title"})
    assert "\x1b" not in card
    assert "`data\\x60\\x7c<b>\\x1b[31m`" in card
    assert "\n# Title" not in card
    assert len(re.findall(r"^```", card, re.MULTILINE)) == 4


def test_the_scores_of_the_best_epoch_are_kept(finished: TrainResult) -> None:
    checkpoint = torch.load(finished.run / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["scored"].shape == (12, 2)
    assert sorted(checkpoint["scored"][:, 0].tolist()) == list(range(12))
    assert pq.read_table(finished.run / "trained_on.parquet").num_rows == 42
