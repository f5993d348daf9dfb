"""Thresholds and temperature of validation scores, and what could not be scored."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from facemill.manifests.codes import Reason, Stage
from facemill.manifests.records import FailureRecord
from facemill.manifests.schemas import FAILURES, VIDEOS, to_table
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.calibration import (
    Calibration,
    apply_temperature,
    choose_threshold,
    choose_thresholds,
    fit_temperature,
    read_calibration,
)
from facemill.pipeline.evaluate.coverage import count_unscored, find_unscored
from facemill.pipeline.evaluate.metrics import score_videos
from tests.pipeline.data.built import build, samples_of, video
from tests.pipeline.evaluate.score_rows import random_frames


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 60)
    logits = np.round(random.normal(labels, 1.5), 1)
    chosen = choose_threshold(logits, labels)
    assert chosen is not None
    best = max(balanced_accuracy_score(labels, logits > cut) for cut in logits)
    assert balanced_accuracy_score(labels, logits > chosen) == pytest.approx(best)
    assert chosen not in logits


def test_a_threshold_needs_both_classes_and_is_in_the_middle_of_the_best() -> None:
    assert choose_threshold([1, 2, 3], [1, 1, 1]) is None
    assert choose_threshold([2, 2, 2], [0, 1, 1]) is None
    assert choose_threshold([-4, -2, 3, 5], [0, 0, 1, 1]) == 0.5


def test_videos_have_a_threshold_of_their_own() -> None:
    table = random_frames({"swap": 1.0})
    chosen = choose_thresholds(table, "max")
    videos = score_videos(table, "max")
    assert chosen.frame == choose_threshold(table["logit"], table["label"])
    assert chosen.video == choose_threshold(videos["logit"], videos["label"])
    assert chosen.video != choose_thresholds(table).video


def test_the_temperature_is_that_of_a_logistic_regression_without_intercept() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 4000)
    logits = 3 * random.normal(labels - 0.5, 1.0)
    fitted = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels)
    assert fit_temperature(logits, labels) == pytest.approx(1 / fitted.coef_[0, 0], rel=1e-3)


def test_separated_or_worthless_scores_have_no_temperature() -> None:
    assert fit_temperature([-3.0, -1.0, 2.0, 4.0], [0, 0, 1, 1]) is None
    assert fit_temperature([3.0, 1.0, -2.0, -4.0], [0, 0, 1, 1]) is None
    assert fit_temperature([], []) is None


def test_a_temperature_divides_log_odds_and_keeps_their_order() -> None:
    table = random_frames({"swap": 1.0})
    cooler = apply_temperature(table, 2.0)
    assert cooler.schema == table.schema
    assert cooler["logit"].to_numpy() == pytest.approx(table["logit"].to_numpy() / 2)
    assert cooler["score"].to_numpy() == pytest.approx(expit(table["logit"].to_numpy() / 2))


def test_thresholds_of_calibrated_scores_are_calibrated_too(tmp_path: Path) -> None:
    rows = random_frames({"swap": 1.0})
    pq.write_table(rows, tmp_path / "validation.parquet")
    plain, divided = (read_calibration(tmp_path / "validation.parquet", calibrated=one) for one in (False, True))
    assert plain.temperature == divided.temperature == fit_temperature(rows["logit"], rows["label"])
    assert plain.thresholds == choose_thresholds(rows)
    assert plain.apply(rows).equals(rows)
    assert divided.thresholds.frame == pytest.approx(plain.thresholds.frame / plain.temperature)
    assert divided.apply(rows).equals(apply_temperature(rows, plain.temperature))
    assert read_calibration(tmp_path / "nothing.parquet") == Calibration()


def test_videos_without_samples_and_frames_that_failed_are_counted(tmp_path: Path) -> None:
    """`b` gave no sample, two frames of `c` failed, `e` is of another split."""
    videos = {name: video(name, int(name in "bc"), "val" if name == "e" else "test") for name in "abcde"}
    folder = build(tmp_path / "data", samples_of([videos[name] for name in "acd"]))
    pq.write_table(to_table(list(videos.values()), VIDEOS), folder / "videos.parquet")
    failures = [
        FailureRecord("b", Stage.DETECT, Reason.NO_FACE, "no face"),
        FailureRecord("c", Stage.DECODE, Reason.UNREADABLE, "damaged", frames=2),
        FailureRecord("e", Stage.DECODE, Reason.UNREADABLE, "damaged", frames=5),
    ]
    pq.write_table(to_table(failures, FAILURES), folder / "failures.parquet")
    found = find_unscored(folder, "test", FaceDataset(folder, "test").samples)
    rows = {row["video_id"]: (row["whole"], row["frames"]) for row in found.to_pylist()}
    assert rows == {"b": (True, 0), "c": (False, 2)}
    assert count_unscored(found) == {"videos_unscored": 1, "frames_unscored": 2}
    keys = {"dataset": "toy", "quality": "native"}
    assert count_unscored(found, **keys, method="swap") == {"videos_unscored": 1, "frames_unscored": 2}
    assert count_unscored(found, **keys, method="other") == {"videos_unscored": 0, "frames_unscored": 0}
    assert find_unscored(build(tmp_path / "none"), "train", pa.table({"video_id": ["x"]})).num_rows == 0
