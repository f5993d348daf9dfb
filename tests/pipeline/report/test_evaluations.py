"""The report of runs and evaluations: its numbers, curves, comparisons and hardest crops."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from facemill import ConfigError
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.report.evaluations import report_evaluations
from facemill.pipeline.train import TrainResult
from tests.pipeline.evaluate.score_rows import frame, frames, random_frames
from tests.pipeline.report.hostile import HOSTILE, MARKUP
from tests.pipeline.report.pages import Page

METHODS = {"Deepfakes": 1.0, "FaceSwap": 0.3}


def write_scores(folder: Path, rows: pa.Table) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(rows, folder / "scores.parquet")
    return folder


def report(*folders: Path) -> Page:
    path = folders[0].with_name("page.html")
    report_evaluations(folders, path)
    return Page.of(path)


def rows_of(page: Page, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(page.saved(name).splitlines()))


def line(page: Page, figure: str) -> list[dict[str, Any]]:
    [found] = [one for one in page.data["lines"] if one["id"] == figure]
    return list(found["traces"])


@pytest.fixture(scope="module")
def evaluated(finished: TrainResult, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluate(finished.run, [toy], tmp_path_factory.mktemp("report") / "evaluation").out


def test_numbers_are_those_of_the_scores(tmp_path: Path) -> None:
    scores = random_frames(METHODS)
    page = report(write_scores(tmp_path / "eval", scores))
    by_frame, by_video = rows_of(page, "all-with-intervals-of-95.csv")
    labels, logits = scores["label"].to_numpy(), scores["logit"].to_numpy()
    assert float(by_frame["AUC"]) == pytest.approx(roc_auc_score(labels, logits))
    assert float(by_frame["AUC low"]) < float(by_frame["AUC"]) < float(by_frame["AUC high"])
    assert (by_frame["reals"], by_frame["fakes"], by_video["fakes"]) == ("60", "120", "20")
    swaps = (scores["method"].to_numpy(zero_copy_only=False) != "Deepfakes").astype(bool)
    [row] = [r for r in rows_of(page, "by-method.csv") if (r["method"], r["unit"]) == ("FaceSwap", "frame")]
    assert float(row["AUC"]) == pytest.approx(roc_auc_score(labels[swaps], logits[swaps]))
    assert len(rows_of(page, "by-dataset.csv")) == 2


def test_a_curve_is_scikit_learn_s_within_its_band(tmp_path: Path) -> None:
    scores = random_frames(METHODS)
    [trace] = line(report(write_scores(tmp_path / "eval", scores)), "roc-frames")
    fpr, tpr, _ = roc_curve(scores["label"].to_numpy(), scores["logit"].to_numpy(), drop_intermediate=False)
    x, y, low, high = (np.array(trace[name]) for name in ("x", "y", "low", "high"))
    below, above = (np.interp(x + step, fpr, tpr) for step in (-1e-5, 1e-5))  # x is rounded, and steps are vertical
    assert ((below - 1e-3 <= y) & (y <= above + 1e-3)).all()
    inside = above - below < 1e-3
    assert inside.sum() > 40
    assert np.allclose(y[inside], above[inside], atol=2e-4)
    assert (low <= y + 1e-9).mean() > 0.95
    assert (high >= y - 1e-9).mean() > 0.95
    assert 0.05 < (high - low).max() < 0.8
    det = line(report(write_scores(tmp_path / "other" / "eval", scores)), "det-frames")[0]
    assert np.allclose(det["y"], np.maximum(1 - y, 1e-3), atol=1e-4)


def test_reliability_is_the_share_of_fakes_in_each_bin(tmp_path: Path) -> None:
    scores = [*[0.1] * 4, *[0.9] * 4]
    rows = [frame(f"v{n}", score, method="fake" if n in (3, 4, 5, 6) else "real") for n, score in enumerate(scores)]
    [trace] = line(report(write_scores(tmp_path / "eval", frames(*rows))), "reliability")
    assert (trace["x"], trace["y"], trace["text"]) == ([0.1, 0.9], [0.25, 0.75], ["4 crops", "4 crops"])


def test_evaluations_are_compared_side_by_side(tmp_path: Path) -> None:
    better = write_scores(tmp_path / "better", random_frames({"Deepfakes": 3.0}, seed=0))
    worse = write_scores(tmp_path / "worse", random_frames({"Deepfakes": 0.0}, seed=0))
    page = report(worse, better)
    [row] = [
        r
        for r in rows_of(page, "differences-on-20-crops-that-all-have.csv")
        if (r["unit"], r["metric"]) == ("video", "AUC")
    ]
    assert (row["name"], row["less name"]) == ("better", "worse")
    assert float(row["difference"]) == pytest.approx(float(row["value"]) - float(row["less"]))
    assert float(row["difference"]) > 0.2
    assert [one["name"] for one in line(page, "roc-videos")] == ["worse", "better"]


def test_a_run_shows_its_training_and_validation(finished: TrainResult, tmp_path: Path) -> None:
    page = report(shutil.copytree(finished.run, tmp_path / "run"))
    assert "these are validation scores" in page.text
    log = list(csv.DictReader((finished.run / "log.csv").read_text().splitlines()))
    train, val = line(page, "loss")
    assert train["y"] == pytest.approx([float(row["train_loss"]) for row in log], rel=1e-4)
    assert (val["name"], val["dashed"], val["x"]) == ("val_loss", True, [1, 2, 3])
    assert '"detector": "mat"' in page.text


def test_the_hardest_crops_are_the_most_wrong_and_have_maps(evaluated: Path) -> None:
    page = report(evaluated)
    assert "no video was trained on" in page.text
    scores = pq.read_table(evaluated / "scores.parquet").to_pandas()
    captions = [str(one["alt"]) for one in page.every("img")]
    for label, pick in ((0, "idxmax"), (1, "idxmin")):
        hardest = scores.loc[getattr(scores[scores.label == label].logit, pick)()]
        assert captions[label].startswith(f"score {hardest.score:.3f}: crop and ")
        assert f"{hardest.video_id}, frame {hardest.frame_index}" in captions[label]


def test_crops_that_are_gone_are_told(evaluated: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(evaluated, tmp_path / "moved")
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps({**metrics, "data": [str(tmp_path / "gone")]}))
    page = report(copy)
    assert "The crops of moved cannot be shown" in page.text
    assert not page.every("img")


def test_what_was_trained_on_and_chance_are_problems(evaluated: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(evaluated, tmp_path / "known")
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps({**metrics, "videos_trained_on": 2}))
    assert "ProblemData2 of the videos were trained on" in report(copy).text
    chance = report(write_scores(tmp_path / "eval", random_frames({"Deepfakes": 3.0, "FaceSwap": -1.0})))
    assert "ProblemMethodsFaceSwap of ffpp is the hardest" in chance.text


def test_names_stay_text(tmp_path: Path) -> None:
    page = report(write_scores(tmp_path / "eval", random_frames({HOSTILE: 1.0}, dataset=HOSTILE)))
    assert MARKUP in page.text
    assert len(page.every("script")) == 3
    assert not page.every("img")


def test_other_folders_and_damage_are_one_sentence(evaluated: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no built dataset, training run or evaluation"):
        report_evaluations([tmp_path], tmp_path / "page.html")
    copy = shutil.copytree(evaluated, tmp_path / "damaged")
    (copy / "metrics.json").write_text('{"frame": []}')
    with pytest.raises(ConfigError, match=r"metrics\.json is damaged .*: evaluate again"):
        report_evaluations([copy], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
