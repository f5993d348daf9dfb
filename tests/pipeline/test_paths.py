"""Paths may be text wherever the library takes one."""

from pathlib import Path

import pytest

from facemill import ConfigError
from facemill.manifests import write_videos
from facemill.manifests.checks.verify import verify
from facemill.manifests.export import export
from facemill.manifests.shards.summary import summarise
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.figures.report import draw_contact_sheet
from facemill.pipeline.runs import load_run
from facemill.pipeline.train import TrainResult, train
from tests.manifests.small_dataset import Parts
from tests.pipeline.data.built import video
from tests.pipeline.trained import SMALL


def test_a_built_dataset(tmp_path: Path) -> None:
    root = str(Parts().write(tmp_path / "built"))
    assert verify(root).problems == ()
    assert summarise(root).samples
    draw_contact_sheet(root, str(tmp_path / "sheet.png"))
    assert (tmp_path / "sheet.png").is_file()
    export(root, str(tmp_path / "export"), "deepfakebench")
    assert (tmp_path / "export").is_dir()
    assert len(FaceDataset(root, "train")) == 6


def test_build(tmp_path: Path) -> None:
    state = tmp_path / "out" / "_state"
    state.mkdir(parents=True)
    (state / "train-000000.json").write_text("{}")
    (state / "build.json").write_text("[]")
    write_videos([video("a", 0)], tmp_path / "videos.parquet")
    with pytest.raises(ConfigError, match="is damaged"):  # so that no worker is started
        build(str(tmp_path / "videos.parquet"), load_recipe("default"), str(tmp_path / "out"), device="cpu")


def test_train_and_evaluate(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    recipe = load_recipe("default", SMALL)
    assert train("mat", str(toy), str(finished.run), recipe, resume=True, device="cpu").run == finished.run
    assert load_run(str(finished.run))[1].detector == "mat"
    evaluate(str(finished.run), str(toy), str(tmp_path / "out"), device="cpu")
    assert (tmp_path / "out" / "metrics.json").is_file()
