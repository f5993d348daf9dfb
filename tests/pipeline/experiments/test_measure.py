"""Figures of scores, their intervals, and sizes of networks."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill.pipeline.evaluate.intervals import weights_of
from facemill.pipeline.evaluate.metrics import compute_metrics, score_videos
from facemill.pipeline.experiments import find_experiment
from facemill.pipeline.experiments.figures import parse_figures
from facemill.pipeline.experiments.measure import Scores, count_size, summarise
from tests.pipeline.evaluate.score_rows import random_frames

METHODS = {"Deepfakes": 1.0, "Face2Face": 0.5, "FaceSwap": 0.3, "NeuralTextures": 0.1, "FaceShifter": 0.2}


@pytest.fixture
def scores(tmp_path: Path) -> Scores:
    rows = [random_frames(METHODS), random_frames(METHODS, seed=1, corruption="contrast", severity=2)]
    pq.write_table(pa.concat_tables(rows), tmp_path / "scores.parquet")
    return Scores(tmp_path / "scores.parquet")


def value(scores: Scores, label: str) -> float:
    [figure] = parse_figures({label: 50.0})
    found = scores.measure(figure)
    assert found is not None
    return float(found[0])


def expected(table: pa.Table, metric: str) -> float:
    logits = table["logit"].to_numpy()
    return float(compute_metrics(table["score"].to_numpy(), table["label"].to_numpy(), logits)[metric])


def methods(*names: str, **fields: object) -> pa.Table:
    return random_frames(METHODS, **fields).filter(pa.compute.field("method").isin(["real", *names]))  # type: ignore[arg-type]


def test_a_figure_is_that_of_its_methods_unit_and_corruption(scores: Scores) -> None:
    """A source of FaceForensics++ has four methods: FaceShifter is not among them."""
    four = methods(*(name for name in METHODS if name != "FaceShifter"))
    assert value(scores, "FF++ c23 AUC") == pytest.approx(100 * expected(four, "auc"))
    assert value(scores, "FF++ c23 ACC") == pytest.approx(100 * expected(four, "acc"))
    assert value(scores, "FF++ c23 log-loss") == pytest.approx(expected(four, "log_loss"))
    assert value(scores, "FF++ c23 FaceShifter EER") == pytest.approx(100 * expected(methods("FaceShifter"), "eer"))
    assert value(scores, "FF++ c23 video AUC") == pytest.approx(100 * expected(score_videos(four), "auc"))
    worse = methods(*(name for name in METHODS if name != "FaceShifter"), seed=1)
    assert value(scores, "FF++ c23 contrast level 2 AUC") == pytest.approx(100 * expected(worse, "auc"))


def test_a_mean_is_that_of_its_parts(scores: Scores) -> None:
    labels = ["FF++ c23 Deepfakes AUC", "FF++ c23 FaceSwap AUC"]
    *parts, mean = parse_figures({**dict.fromkeys(labels, 50.0), "mean AUC": 50.0})
    found = scores.measure(mean)
    assert found is not None
    assert found[0] == pytest.approx(np.mean([value(scores, label) for label in labels]))
    assert np.allclose(found, np.mean([scores.measure(part) for part in parts], axis=0))


@pytest.mark.parametrize("label", ["FF++ c40 AUC", "Celeb-DF v2 AUC", "FF++ c23 contrast level 3 AUC"])
def test_a_figure_without_scores_is_not_measured(scores: Scores, label: str) -> None:
    [figure] = parse_figures({label: 50.0})
    assert scores.measure(figure) is None


def test_an_interval_covers_the_true_accuracy_about_as_often_as_it_says() -> None:
    """300 test sets of 60 independent videos and three seeds, whose accuracies differ by a normal error."""
    random = np.random.default_rng(0)
    weights = weights_of(60)
    covered = 0
    for _ in range(300):
        found = []
        for share in 0.7 + random.normal(0, 0.03, 3):
            hits = random.random(60) < share
            found.append(100 * (weights @ hits) / weights.sum(1))
        interval = summarise(found).interval
        assert interval is not None
        covered += interval[0] <= 70 <= interval[1]
    assert 0.92 <= covered / 300 <= 1


def test_one_seed_has_no_spread_and_equal_seeds_add_nothing() -> None:
    draws = weights_of(40) @ np.random.default_rng(0).normal(90, 12, 40) / 40
    one, three = summarise([draws]), summarise([draws] * 3)
    assert one.spread is None
    assert three.spread == pytest.approx(0, abs=1e-9)
    assert one.interval is not None
    assert three.interval == pytest.approx(one.interval)
    apart = summarise([draws - 2, draws, draws + 2])
    assert apart.spread == pytest.approx(2)
    assert apart.interval is not None
    halves = [np.hypot(bound - one.mean, 4.303 * 2 / np.sqrt(3)) for bound in one.interval]
    assert apart.interval == pytest.approx((one.mean - halves[0], one.mean + halves[1]), rel=1e-3)


@pytest.mark.heavy
def test_sizes_of_the_paper_that_counts_as_we_do() -> None:
    for name in ("n3", "n4"):
        row = find_experiment(f"etd/table7/{name}")
        sizes = {figure.label: count_size(row.detector, row.options, figure.metric).mean for figure in row.figures[:3]}
        printed = {figure.label: figure.paper for figure in row.figures[:3]}
        assert sizes["parameters M"] == pytest.approx(printed["parameters M"], abs=0.005)
        assert sizes["MACs G"] == pytest.approx(printed["MACs G"], abs=0.005)
        assert sizes["FLOPs G"] == 2 * sizes["MACs G"]


def test_the_weights_of_the_attention_alone() -> None:
    assert count_size("sia", {}, "added_parameters").mean == 46.384
