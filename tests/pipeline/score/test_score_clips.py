"""Scores of files by a detector of clips: a face that is in no clip is told, never left out in silence."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from facemill import DatasetError
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.score import score
from facemill.pipeline.score.results import describe
from facemill.pipeline.train import train
from tests.pipeline.conftest import Actor, film
from tests.pipeline.score.conftest import Shoot, change_config
from tests.pipeline.train.flicker import SIDE, flicker

pytestmark = pytest.mark.usefixtures("mark_detector")

LARGE = Actor(20, 60, side=110, dx=1)
CLIP = 4
RECIPE = load_recipe(
    "default",
    ["crop.size=64", "sample.strategy=runs", "sample.frames=10", "sample.runs=2", "crop.steady=true", "track.keep=all"],
)


@pytest.fixture(scope="module")
def clip_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as if trained on crops of `RECIPE`."""
    folder = tmp_path_factory.mktemp("clip-run")
    sets = ["train.model.backbone=test_resnet", f"train.model.size={SIDE}", f"train.model.clip={CLIP}"]
    recipe = load_recipe("default", [*sets, "train.epochs=1", "train.batch=4"])
    train("temporal", [flicker(folder / "data", 2)], folder / "run", recipe, device="cpu", progress=False)
    crop = RECIPE.crop.model_dump(mode="json", exclude={"size"})
    change_config(folder / "run", recipe=RECIPE.build_values(), crop=crop)
    return folder / "run"


def test_faces_in_clips_are_scored_and_the_others_told(clip_run: Path, shoot: Shoot, tmp_path: Path) -> None:
    paths = [shoot("long.mp4", film([LARGE], 40)), shoot("short.mp4", film([LARGE], 3))]
    shutil.copy(paths[0], tmp_path / "again.mp4")
    scored = score(clip_run, [*paths, tmp_path / "again.mp4"], tmp_path / "out", device="cpu")
    files = {Path(result["file"]).name: result for result in scored.summary["files"]}
    [person] = files["long.mp4"]["persons"]
    assert [face["frame_index"] for face in person["faces"]] == [0, 1, 2, 3, 35, 36, 37, 38]
    logits = [face["logit"] for face in person["faces"]]
    assert len(set(logits[:4])) == len(set(logits[4:])) == 1
    assert logits[0] != logits[4]
    assert person["logit"] == pytest.approx(np.log(np.mean(1 / (1 + np.exp(-np.array(logits)))) ** -1 - 1) * -1)
    left = files["long.mp4"]["not_scored"]["faces"]
    assert [(face["frame_index"], face["reason"]) for face in left] == [(4, "in_no_clip"), (39, "in_no_clip")]
    short = files["short.mp4"]
    assert short["persons"] == []
    assert [face["reason"] for face in short["not_scored"]["faces"]] == ["in_no_clip"] * 3
    assert "not scored. No face is in as many frames in a row as the detector takes." in describe(short, None)
    page = (tmp_path / "out" / "score.html").read_text()
    assert page.count("<img") == 4  # a timeline and faces of each of the two long files
    assert "in no clip" in page


def test_nothing_but_short_files_is_refused(clip_run: Path, shoot: Shoot, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No face was sampled in 4 frames in a row"):
        score(clip_run, shoot("short.mp4", film([LARGE], 3)), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
