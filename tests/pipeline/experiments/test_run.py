"""One row of a paper's table, from a dataset to two figures side by side."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from facemill import ConfigError
from facemill.pipeline.evaluate import Evaluation
from facemill.pipeline.evaluate.report import build_report
from facemill.pipeline.experiments import find_experiment, run_experiment
from facemill.pipeline.train import load_run
from tests.pipeline.evaluate.score_rows import random_frames
from tests.pipeline.trained import SMALL

NAME = "mat/table5/m2"


def test_a_row_is_trained_with_its_options_and_printed_beside_the_paper(toy: Path, tmp_path: Path) -> None:
    overrides = (*SMALL, "train.epochs=1", "train.model.pretrained=false")
    lines = list(run_experiment(NAME, [toy], tmp_path, test=[toy], overrides=overrides))
    _, config = load_run(tmp_path / "run")
    assert config.options["num_attentions"] == find_experiment(NAME).options["num_attentions"] == 2
    paper = [line for line in lines if line.startswith("paper")]
    assert paper[1:] == [f"paper  {metric}: {figure:g}" for metric, figure in find_experiment(NAME).figures.items()]
    ours = [line.removeprefix("ours   ") for line in lines if line.startswith("ours")]
    places = ["frames, toy native", "frames, toy native swap", "videos, toy native", "videos, toy native swap"]
    assert [line.split(":")[0] for line in ours[1:]] == places
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    for line, unit in ((ours[1], "frame"), (ours[3], "video")):
        found = metrics[unit]["overall"]
        shares = ", ".join(f"{name.upper()} {100 * found[name]:.2f}%" for name in ("acc", "auc", "eer", "ap"))
        assert line.split(": ")[1] == f"{shares}, log loss {found['log_loss']:.4f}"
    assert any("not the paper's setting" in line for line in lines)


def test_several_datasets_and_corruptions_have_lines_of_their_own(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the scoring replaced: what is printed of a report of known scores."""
    methods = {"Deepfakes": 1.0, "FaceSwap": 0.2}
    scores = pa.concat_tables(
        [
            random_frames(methods),
            random_frames({"Synthesis": 0.5}, seed=1, dataset="celebdf", quality="native"),
            random_frames(methods, seed=2, corruption="contrast", severity=3),
        ]
    )
    report = build_report(scores)
    asked = []

    def evaluate(run: Path, data: list[Path], out: Path, *, robustness: bool, **_: object) -> Evaluation:
        asked.append(robustness)
        return Evaluation(out, report, ())

    monkeypatch.setattr("facemill.pipeline.train.train", lambda *args, **kwargs: None)
    monkeypatch.setattr("facemill.pipeline.evaluate.evaluate", evaluate)
    lines = list(run_experiment("etd/table6/contrast", [toy], tmp_path, test=[toy]))
    assert asked == [True]
    ours = [line.removeprefix("ours   ").split(": ") for line in lines if line.startswith("ours")][1:]
    assert [place for place, _ in ours if place.startswith("frames")] == [
        "frames, all",
        "frames, celebdf native",
        "frames, celebdf native Synthesis",
        "frames, ffpp c23",
        "frames, ffpp c23 Deepfakes",
        "frames, ffpp c23 FaceSwap",
        "frames, ffpp c23 mean of 2 methods",
        "frames, all contrast severity 3",
        "frames, ffpp c23 contrast severity 3",
    ]
    figures = dict(ours)
    aucs = [row["auc"] for row in report["video"]["methods"] if row["dataset"] == "ffpp"]
    assert figures["videos, ffpp c23 mean of 2 methods"] == f"AUC {50 * sum(aucs):.2f}%"
    [worse] = report["robustness"]["datasets"]
    assert figures["frames, ffpp c23 contrast severity 3"] == f"AUC {100 * worse['frame_auc']:.2f}%"
    assert figures["videos, ffpp c23 contrast severity 3"] == f"AUC {100 * worse['video_auc']:.2f}%"


def test_the_commands_it_shows_name_it() -> None:
    shown = find_experiment(NAME).lines()
    assert any(f"facemill experiments run {NAME}" in line for line in shown)
    assert not any("--robustness" in line for line in shown)
    assert any("--robustness" in line for line in find_experiment("etd/table6/contrast").lines())


def test_an_unknown_row_is_refused_before_anything_is_done(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'mat/table5/m2'"):
        list(run_experiment("mat/table5/m22", [toy], tmp_path / "out", test=[toy]))
    assert not (tmp_path / "out").exists()
