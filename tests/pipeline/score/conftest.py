"""A run to score with, and what its network says of a dataset."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.evaluate.scores import SCORES
from facemill.pipeline.runs.folder import CONFIG_FILE, VALIDATION_FILE
from facemill.pipeline.train import TrainResult
from tests.conftest import encode_video
from tests.pipeline.evaluate.score_rows import frame

Shoot = Callable[..., Path]
RECIPE = load_recipe("default", ["crop.size=96", "sample.frames=6", "track.keep=forged"])


@pytest.fixture(scope="module")
def run(finished: TrainResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run as if trained on crops of `RECIPE`, whose validation scores are too confident."""
    folder = tmp_path_factory.mktemp("scoring") / "run"
    shutil.copytree(finished.run, folder)
    change_config(folder, recipe=RECIPE.build_values(), crop=RECIPE.crop.model_dump(mode="json", exclude={"size"}))
    random = np.random.default_rng(0)
    rows = [
        frame(f"v{n}", expit(0.3 * (n % 2) + random.normal(-0.1, 0.9)), method=("real", "swap")[n % 2], split="val")
        for n in range(40)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORES), folder / VALIDATION_FILE)
    return folder


def change_config(run: Path, **values: Any) -> None:
    config = json.loads((run / CONFIG_FILE).read_text())
    (run / CONFIG_FILE).write_text(json.dumps({**config, **values}))


def choose_threshold(run: Path, threshold: float) -> None:
    """Give a run validation scores that choose this threshold, log-odds."""
    rows = [
        frame("a", expit(threshold - 0.1), split="val"),
        frame("b", expit(threshold + 0.1), method="swap", split="val"),
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORES), run / VALIDATION_FILE)


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    """`shoot(name, frames)` writes a video, or a file of other bytes, into a folder of the test's."""

    def write(name: str, content: np.ndarray | bytes) -> Path:
        path = tmp_path / "shot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            encode_video(path, content)
        return path

    return write
