"""A finished run judged on a dataset: the files, and what they say."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from facemill import ConfigError, DatasetError
from facemill.manifests.schemas import VIDEOS, to_table
from facemill.pipeline.evaluate.calibration import choose_thresholds
from facemill.pipeline.evaluate.corruptions import LEVELS
from facemill.pipeline.evaluate.evaluation import Evaluation, evaluate
from facemill.pipeline.figures import plots
from facemill.pipeline.train import TrainResult
from tests.pipeline.data.built import build, samples_of, video

PLOTS = ("roc", "scores", "reliability")
DRAWN: dict[str, int] = {}
"""Rows that each plot of `evaluation` was drawn from."""


@pytest.fixture(scope="module")
def evaluation(finished: TrainResult, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        for name in PLOTS:
            patch.setattr(plots, f"draw_{name}", partial(_noted, getattr(plots, f"draw_{name}")))
        here = Path(os.path.relpath(toy))
        return evaluate(finished.run, [here], tmp_path_factory.mktemp("evaluation"), robustness=True)


def _noted(draw: Callable[..., None], rows: pa.Table, path: Path, **how: str) -> None:
    DRAWN[path.name] = len(rows)
    draw(rows, path, **how)


def test_plots_are_of_crops_as_they_are_by_frame_and_by_video(evaluation: Evaluation) -> None:
    frames, videos = ([f"{plot}-{unit}.png" for plot in PLOTS] for unit in ("frames", "videos"))
    assert {**dict.fromkeys(frames, 12), **dict.fromkeys(videos, 2)} == DRAWN


def test_it_leaves_scores_metrics_and_plots(evaluation: Evaluation) -> None:
    drawn = {f"{plot}-{unit}.png" for plot in PLOTS for unit in ("frames", "videos")}
    assert {path.name for path in evaluation.out.iterdir()} == {"scores.parquet", "metrics.json", *drawn}


def test_it_names_its_data_so_that_they_are_found_from_any_folder(evaluation: Evaluation, toy: Path) -> None:
    [data] = json.loads((evaluation.out / "metrics.json").read_text())["data"]
    assert Path(data).is_absolute()
    assert Path(data).samefile(toy)


def test_the_metrics_are_scikit_learn_s_of_the_scores(evaluation: Evaluation) -> None:
    scores = pq.read_table(evaluation.out / "scores.parquet").to_pandas()
    clean = scores[scores.corruption == "none"]
    written = json.loads((evaluation.out / "metrics.json").read_text())
    videos = clean.groupby(["dataset", "video_id"]).agg({"score": "mean", "label": "first"})
    assert (len(clean), len(videos)) == (12, 2)
    for unit, rows in (("frame", clean), ("video", videos)):
        found = written[unit]["overall"]
        assert found["auc"] == pytest.approx(roc_auc_score(rows.label, rows.score), abs=1e-6)
        assert found["ap"] == pytest.approx(average_precision_score(rows.label, rows.score), abs=1e-6)
        assert found["log_loss"] == pytest.approx(log_loss(rows.label, rows.score), abs=1e-6)
        assert found["acc"] == pytest.approx(np.mean((rows.score > 0.5) == rows.label), abs=1e-6)


def test_robustness_has_five_levels_of_each_corruption(evaluation: Evaluation) -> None:
    rows = evaluation.metrics["robustness"]["datasets"]
    assert {(row["dataset"], row["quality"]) for row in rows} == {("toy", "native")}
    levels = [(row["corruption"], row["severity"]) for row in rows]
    assert levels == [(name, n) for name in LEVELS for n in range(1, 6)]
    assert pq.read_metadata(evaluation.out / "scores.parquet").num_rows == 41 * 12


def test_equal_calls_give_equal_scores(
    evaluation: Evaluation, finished: TrainResult, toy: Path, tmp_path: Path
) -> None:
    evaluate(finished.run, [toy], tmp_path, robustness=True)
    scores = (tmp_path / "scores.parquet").read_bytes()
    assert scores == (evaluation.out / "scores.parquet").read_bytes()


def test_masks_are_not_read(finished: TrainResult, tmp_path: Path) -> None:
    fake, real = samples_of([video("a", 1, "test"), video("b", 0, "test")], frames=[0])
    broken = [dataclasses.replace(sample, mask=b"no picture") for sample in (fake, real)]
    evaluate(finished.run, [build(tmp_path / "data", broken)], tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "scores.parquet")["sample_id"].to_pylist() == [
        "a-f000000-t0",
        "b-f000000-t0",
    ]


def test_videos_that_the_run_was_trained_on_are_told(
    evaluation: Evaluation, finished: TrainResult, toy: Path, tmp_path: Path
) -> None:
    assert (evaluation.metrics["videos_trained_on"], evaluation.warnings) == (0, ())
    known = evaluate(finished.run, [toy], tmp_path / "val", split="val")
    assert known.warnings == ("The run was trained or validated on 2 of these videos, toy val-0 among them.",)
    assert json.loads((tmp_path / "val" / "metrics.json").read_text())["videos_trained_on"] == 2
    older = shutil.copytree(finished.run, tmp_path / "older")
    (older / "trained_on.parquet").unlink()
    unknown = evaluate(older, [toy], tmp_path / "unknown")
    assert unknown.metrics["videos_trained_on"] is None
    assert "keeps no list" in unknown.warnings[0]


def test_a_sample_of_two_folders_is_refused(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(toy, tmp_path / "copy")
    with pytest.raises(ConfigError, match=rf"sample test-0-f000000-t0 is both in {toy} and in {copy}"):
        evaluate(finished.run, [toy, copy], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_input_is_one_sentence(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no training run"):
        evaluate(toy, [toy], tmp_path)
    with pytest.raises(ConfigError, match="given twice"):
        evaluate(finished.run, [toy, toy], tmp_path)
    with pytest.raises(DatasetError, match="split 'tset'"):
        evaluate(finished.run, [toy], tmp_path, split="tset")


def test_videos_are_scored_as_asked_and_thresholds_are_those_of_validation(
    evaluation: Evaluation, finished: TrainResult, toy: Path, tmp_path: Path
) -> None:
    found = evaluate(finished.run, toy, tmp_path, video_score="max")
    validation = pq.read_table(finished.run / "validation.parquet")
    assert (len(validation), set(validation["split"].to_pylist())) == (12, {"val"})
    written = json.loads((tmp_path / "metrics.json").read_text())
    [limits] = written["thresholds"]
    assert limits == dataclasses.asdict(choose_thresholds(validation, "max"))
    scores = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    right = (scores.logit > limits["frame"]) == (scores.label == 1)
    assert found.metrics["frame"]["overall"]["acc_val"] == pytest.approx(right.mean())
    videos = scores.groupby("video_id").agg({"logit": "max", "score": "max", "label": "first"})
    right = (videos.logit > limits["video"]) == (videos.label == 1)
    assert found.metrics["video"]["overall"]["acc_val"] == pytest.approx(right.mean())
    brier = ((videos.score - videos.label) ** 2).mean()
    assert found.metrics["video"]["overall"]["brier"] == pytest.approx(brier)
    with pytest.raises(ConfigError, match="choose mean"):
        evaluate(finished.run, toy, tmp_path, video_score="least")


def test_scores_are_calibrated_only_if_asked(
    evaluation: Evaluation, finished: TrainResult, toy: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    path = run / "validation.parquet"
    validation = pq.read_table(path)
    sure = np.where(np.arange(12) % 4 == 0, -6.0, 6.0) * (2 * validation["label"].to_numpy() - 1)
    place = validation.schema.get_field_index("logit")
    pq.write_table(validation.set_column(place, validation.schema.field(place), pa.array(sure)), path)
    as_is, calibrated = (evaluate(run, toy, tmp_path / str(on), calibrated=on) for on in (False, True))
    plain, scaled = (pq.read_table(one.out / "scores.parquet") for one in (as_is, calibrated))
    temperature = 6 / np.log(3)  # three of four are right, so that the log-odds should be those of 3 to 1
    written = json.loads((tmp_path / "True/metrics.json").read_text())
    assert written["temperatures"] == [pytest.approx(temperature, rel=1e-4)]
    assert scaled["logit"].to_numpy() == pytest.approx(plain["logit"].to_numpy() / temperature, rel=1e-4)
    clean = pq.read_table(evaluation.out / "scores.parquet").filter(pa.compute.field("corruption") == "none")
    assert plain["logit"].equals(clean["logit"])
    path.unlink()
    with pytest.raises(ConfigError, match="no validation scores that a temperature fits"):
        evaluate(run, toy, tmp_path / "none", calibrated=True)


def test_videos_without_a_crop_are_in_the_metrics_and_told(finished: TrainResult, tmp_path: Path) -> None:
    listed = [video("a", 1, "test"), video("b", 0, "test"), video("c", 1, "test"), video("d", 0, "val")]
    folder = build(tmp_path / "data", samples_of(listed[:2]))
    pq.write_table(to_table(listed, VIDEOS), folder / "videos.parquet")
    found = evaluate(finished.run, folder, tmp_path / "out")
    assert found.metrics["video"]["overall"]["videos_unscored"] == 1
    [method] = found.metrics["video"]["methods"]
    assert method["videos_unscored"] == 1
    [part] = found.metrics["parts"].values()
    assert part["video"]["overall"]["videos_unscored"] == 1
    assert any("1 videos could not be scored, c among them" in warning for warning in found.warnings)
