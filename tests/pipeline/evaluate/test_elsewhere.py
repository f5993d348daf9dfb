"""Scores of other tools: the same tables as of our own, and faults by line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from facemill import ConfigError
from facemill.pipeline.evaluate.compare import compare
from facemill.pipeline.evaluate.elsewhere import evaluate_scores, read_foreign
from facemill.pipeline.evaluate.report import build_report
from tests.pipeline.evaluate.score_rows import random_frames


@pytest.fixture
def ours() -> pa.Table:
    return random_frames({"Deepfakes": 1.0, "FaceSwap": 0.3})


def as_csv(path: Path, table: pa.Table, **more: object) -> Path:
    rows = table.to_pandas().rename(columns={"video_id": "video"})
    rows["frame"] = rows.groupby("video").cumcount()
    columns = ["video", "label", "score", "frame", "method", "dataset", "quality", "group"]
    rows[columns].assign(**more).to_csv(path, index=False, float_format="%.17g")
    return path


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_report_is_that_of_the_same_scores_of_our_own(tmp_path: Path, ours: pa.Table) -> None:
    found = evaluate_scores(as_csv(tmp_path / "s.csv", ours), tmp_path / "out")
    expected = build_report(ours)
    for unit in ("frame", "video"):
        for name in ("datasets", "methods"):
            for row, other in zip(found.metrics[unit][name], expected[unit][name], strict=True):
                assert row.keys() == other.keys()
                for key in ("auc", "acc", "eer", "brier", "groups", "reals"):
                    assert row[key] == pytest.approx(other[key], abs=1e-9), key
                assert row["intervals"]["auc"] == pytest.approx(other["intervals"]["auc"], abs=1e-9)
    drawn = {f"{plot}-{unit}.png" for plot in ("roc", "scores", "reliability") for unit in ("frames", "videos")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores.parquet", "metrics.json", *drawn}
    assert json.loads((tmp_path / "out/metrics.json").read_text())["frame"] == found.metrics["frame"]
    assert found.warnings == ()


def test_three_columns_are_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "video,label,score", "a,real,0.2", "a,real,0.4", "b,1,1", "b,1,0", "c,FAKE,0.9")
    found = read_foreign(path)
    scores = found.scores.to_pydict()
    assert scores["sample_id"] == ["a-0-0", "a-1-0", "b-0-0", "b-1-0", "c-0-0"]
    assert (scores["label"], scores["score"]) == ([0, 0, 1, 1, 1], [0.2, 0.4, 1, 0, 0.9])
    assert np.isfinite(scores["logit"]).all()
    assert scores["group"] == [f"scores {video}" for video in "aabbc"]
    assert "no column group" in found.notes[0]


def test_scores_of_0_and_1_rank_beyond_all_others(tmp_path: Path) -> None:
    extreme = ["5e-324", "0", "1", "0.9999999999999999"]
    path = write(tmp_path / "s.csv", "video,label,score", *(f"v{n},{n % 2},{score}" for n, score in enumerate(extreme)))
    assert np.argsort(read_foreign(path).scores["logit"].to_numpy()).tolist() == [1, 0, 3, 2]


def test_log_odds_are_taken_if_said_and_refused_if_not(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "video,label,score", "a,0,-3", "b,1,2")
    with pytest.raises(ConfigError, match="score -3 is no probability: use --logits"):
        read_foreign(path)
    found = read_foreign(path, logits=True).scores
    assert found["logit"].to_pylist() == [-3, 2]
    assert found["score"].to_numpy() == pytest.approx(1 / (1 + np.exp([3, -2])))


def test_lines_without_a_score_count_as_not_scored(tmp_path: Path) -> None:
    lines = ["a,0,0.2,real", "b,1,0.7,swap", "b,1,,swap", "c,1,,swap", "c,1,,swap", "d,0,0.1,real"]
    found = evaluate_scores(write(tmp_path / "s.csv", "video,label,score,method", *lines), tmp_path / "out")
    overall = found.metrics["video"]["overall"]
    assert (overall["videos_unscored"], overall["frames_unscored"]) == (1, 3)
    assert (overall["reals"], overall["fakes"]) == (2, 1)
    assert found.metrics["frame"]["methods"][0]["frames_unscored"] == 3
    assert "1 videos could not be scored, c among them" in found.warnings[-1]


def test_a_threshold_is_in_the_unit_of_the_scores(tmp_path: Path) -> None:
    lines = ["a,0,0.6", "b,1,0.7", "c,1,0.9", "d,0,0.75"]
    path = write(tmp_path / "s.csv", "video,label,score", *lines)
    found = evaluate_scores(path, tmp_path / "out", threshold=0.65).metrics["frame"]["overall"]
    assert (found["acc"], found["acc_val"]) == (0.5, 0.75)


def test_attributes_are_compared_with_all_others(tmp_path: Path, ours: pa.Table) -> None:
    sex = ["f" if int(video[-1]) < 5 else "m" for video in ours["video_id"].to_pylist()]
    path = as_csv(tmp_path / "s.csv", ours, sex=sex, group=[video[-1] for video in ours["video_id"].to_pylist()])
    found = evaluate_scores(path, tmp_path / "out", attributes=["sex"])
    rows = {(row["value"], row["unit"]): row for row in found.metrics["attributes"]}
    table = pd.read_csv(path)
    parts = dict(iter(table.groupby("sex")))
    aucs = {value: roc_auc_score(part.label, part.score) for value, part in parts.items()}
    tprs = {value: float((part.score[part.label == 1] > 0.5).mean()) for value, part in parts.items()}
    fprs = {value: float((part.score[part.label == 0] > 0.5).mean()) for value, part in parts.items()}
    assert set(rows) == {(value, unit) for value in "fm" for unit in ("frame", "video")}
    for value, other in ("fm", "mf"):
        row = rows[value, "frame"]
        for name, expected in (("auc", aucs), ("tpr", tprs), ("fpr", fprs)):
            assert row[name] == pytest.approx(expected[value], abs=1e-9)
            assert row["gaps"][name] == pytest.approx(expected[value] - expected[other], abs=1e-9)
            low, high = row["gap_intervals"][name]
            assert low < row["gaps"][name] < high
        assert (row["reals"], row["fakes"]) == (30, 60)


def test_outputs_can_be_compared(tmp_path: Path, ours: pa.Table) -> None:
    evaluate_scores(as_csv(tmp_path / "a.csv", ours), tmp_path / "a")
    evaluate_scores(as_csv(tmp_path / "b.csv", ours, score=ours["score"].to_numpy() ** 2), tmp_path / "b")
    found = compare([tmp_path / "a", tmp_path / "b"])
    [auc] = [row for row in found["rows"] if (row["metric"], row["unit"]) == ("auc", "frame")]
    assert (found["samples"], auc["difference"]) == (180, 0)
    assert pq.read_table(tmp_path / "a/scores.parquet")["score"].to_numpy() == pytest.approx(ours["score"].to_numpy())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["video,label,score", "a,0,0.1", "b,1,nan"], "score of frame 0 of video b in .* is nan"),
        (["video,label,score,frame", "a,0,0.1,3", "b,1,inf,7"], "score of frame 7 of video b in .* is inf"),
        (["video,label,score", "a,0,0.1", "b,maybe,0.3"], "Line 3 of .* has the label 'maybe'"),
        (["video,label,score", "a,0,0.1", ",1,0.3"], "Line 3 of .* has no video"),
        (["video,score", "a,0.1"], "lacks the column label: it has video, score"),
        (["video,label,score", "a,0,high"], "cannot be read as a table of scores"),
        (["video,label,score", "a,0,0.1,7"], "cannot be read as a table of scores"),
    ],
)
def test_a_fault_is_one_sentence(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate_scores(write(tmp_path / "s.csv", *lines), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_columns_are_told_and_missing_attributes_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "video,label,score,group,path", "a,0,0.1,g,x", "b,1,0.3,g,y")
    assert read_foreign(path).notes == ("Columns that are not used: path.",)
    with pytest.raises(ConfigError, match="lacks the column sex"):
        read_foreign(path, attributes=["sex"])
