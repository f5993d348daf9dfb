"""One row of a paper's table, from a dataset to two figures side by side."""

from pathlib import Path

import pytest

from facemill import ConfigError
from pipeline.experiments import find_experiment, run_experiment
from pipeline.train import load_run
from tests.pipeline.trained import SMALL

NAME = "mat/table5/m2"


def test_a_row_is_trained_with_its_options_and_printed_beside_the_paper(toy: Path, tmp_path: Path) -> None:
    overrides = (*SMALL, "train.epochs=1", "train.model.pretrained=false")
    lines = list(run_experiment(NAME, [toy], tmp_path, test=[toy], overrides=overrides))
    _, config = load_run(tmp_path / "run")
    assert config.options["num_attentions"] == find_experiment(NAME).options["num_attentions"] == 2
    paper = [line for line in lines if line.startswith("paper")]
    assert paper[1:] == [f"paper  {metric}: {figure:g}" for metric, figure in find_experiment(NAME).figures.items()]
    ours = [line for line in lines if line.startswith("ours")]
    assert [line.split()[1] for line in ours] == ["trained", "frames", "videos"]
    assert "AUC" in ours[1]
    assert any("not the paper's setting" in line for line in lines)


def test_the_commands_it_shows_name_it() -> None:
    shown = find_experiment(NAME).lines()
    assert any(f"facemill experiments run {NAME}" in line for line in shown)


def test_an_unknown_row_is_refused_before_anything_is_done(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean mat/table5/m2"):
        list(run_experiment("mat/table5/m22", [toy], tmp_path / "out", test=[toy]))
    assert not (tmp_path / "out").exists()
