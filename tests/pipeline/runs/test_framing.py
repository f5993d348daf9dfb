"""Notes about datasets whose crops are not those that a detector's paper, or a run, used."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from facemill.manifests.shards.dataset import DATASET_FILE
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.runs.folder import CONFIG_FILE, read_config
from facemill.pipeline.runs.framing import differences_from_paper
from facemill.pipeline.train import TrainResult, train
from tests.pipeline.conftest import SMALL


def cropped(toy: Path, folder: Path, **crop: Any) -> Path:
    """The dataset as if another recipe had cut it out."""
    shutil.copytree(toy, folder)
    info = json.loads((folder / DATASET_FILE).read_text())
    info["recipe"]["crop"] = {"size": 64, "scale": 1.3, "align": "none", "around": "face", **crop}
    (folder / DATASET_FILE).write_text(json.dumps(info))
    return folder


def test_crops_are_compared_with_the_papers(toy: Path, tmp_path: Path) -> None:
    plain, aligned = cropped(toy, tmp_path / "plain"), cropped(toy, tmp_path / "aligned", align="similarity", size=8)
    assert list(differences_from_paper("mat", [aligned])) == []
    (note,) = differences_from_paper("mat", [aligned, plain])
    assert note == f"The crops of {plain} are not those of the recipe mat: align none instead of similarity."


def test_where_no_paper_says_datasets_are_compared_with_each_other(toy: Path, tmp_path: Path) -> None:
    plain, wide = cropped(toy, tmp_path / "plain"), cropped(toy, tmp_path / "wide", scale=2.6, around="mask")
    assert list(differences_from_paper("resnet18", [plain, plain])) == []
    (note,) = differences_from_paper("resnet18", [plain, wide])
    assert note.endswith(f"not those of {plain}: scale 2.6 instead of 1.3, around mask instead of face.")


@pytest.mark.heavy
def test_training_and_evaluation_say_so(
    toy: Path, finished: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = cropped(toy, tmp_path / "wide", scale=2.6)
    run = tmp_path / "known"
    shutil.copytree(finished.run, run)
    config = json.loads((run / CONFIG_FILE).read_text())
    (run / CONFIG_FILE).write_text(json.dumps({**config, "crop": {"scale": 1.3}}))
    notes = evaluate(run, [wide], tmp_path / "scores", device="cpu").warnings
    assert f"The crops of {wide} are not those of the run's training data: scale 2.6 instead of 1.3." in notes
    plain = cropped(toy, tmp_path / "plain")
    capsys.readouterr()
    train("mat", [plain], tmp_path / "run", load_recipe("default", SMALL), device="cpu", progress=False)
    assert f"Note: The crops of {plain} are not those of the recipe mat" in capsys.readouterr().err
    assert read_config(tmp_path / "run").crop == {"scale": 1.3, "align": "none", "around": "face"}
    assert read_config(tmp_path / "run").recipe == json.loads((plain / DATASET_FILE).read_text())["recipe"]
