"""Comparison of evaluations: DeLong's test, paired resampling, Holm's correction."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

from facemill import ConfigError
from facemill.pipeline.evaluate.compare import auc_covariance, compare, compare_tables, delong_test, holm
from tests.pipeline.evaluate.score_rows import random_frames

METHODS = {"Deepfakes": 1.0, "FaceSwap": 0.3}


def slow_delong(rankings, labels) -> tuple[np.ndarray, np.ndarray]:
    """DeLong, DeLong and Clarke-Pearson (1988), Eqs. 2 to 6, by loops over all pairs."""
    fakes = [at for at, label in enumerate(labels) if label == 1]
    reals = [at for at, label in enumerate(labels) if label == 0]

    def kernel(fake: float, real: float) -> float:
        return 1.0 if fake > real else 0.5 if fake == real else 0.0

    aucs = [np.mean([kernel(r[f], r[o]) for f in fakes for o in reals]) for r in rankings]
    v10 = [[np.mean([kernel(r[f], r[o]) for o in reals]) for f in fakes] for r in rankings]
    v01 = [[np.mean([kernel(r[f], r[o]) for f in fakes]) for o in reals] for r in rankings]
    covariance = np.zeros((len(rankings),) * 2)
    for a in range(len(rankings)):
        for b in range(len(rankings)):
            s10 = sum((x - aucs[a]) * (y - aucs[b]) for x, y in zip(v10[a], v10[b], strict=True)) / (len(fakes) - 1)
            s01 = sum((x - aucs[a]) * (y - aucs[b]) for x, y in zip(v01[a], v01[b], strict=True)) / (len(reals) - 1)
            covariance[a, b] = s10 / len(fakes) + s01 / len(reals)
    return np.array(aucs), covariance


@pytest.mark.parametrize("seed", range(6))
def test_delong_is_that_of_slow_loops(seed):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat([0, 1], [9 + seed, 25 - seed]))
    rankings = np.round(random.normal(size=(3, len(labels))) + labels, 1)  # with ties
    aucs, covariance = auc_covariance(rankings, labels)
    slow_aucs, slow_covariance = slow_delong(rankings, labels)
    assert aucs == pytest.approx(slow_aucs, abs=1e-12)
    assert aucs == pytest.approx([roc_auc_score(labels, ranking) for ranking in rankings], abs=1e-12)
    assert covariance == pytest.approx(slow_covariance, abs=1e-12)


def test_p_is_uniform_if_detectors_are_equally_good_and_small_if_not():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    common = random.normal(size=(400, 200)) + labels
    pairs = [common + random.normal(0, 0.7, (400, 200)) for _ in range(2)]
    ps = [delong_test(first, second, labels) for first, second in zip(*pairs, strict=True)]
    assert kstest(ps, "uniform").pvalue > 0.01
    assert delong_test(common[0] + labels, random.normal(size=200), labels) < 1e-3


def test_p_is_not_defined_without_variance_or_with_one_sample_of_a_class():
    assert delong_test([1, 2, 3, 4], [1, 2, 3, 4], [0, 0, 1, 1]) is None
    assert delong_test([1, 2, 3], [3, 2, 1], [0, 1, 1]) is None


def test_holm_s_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


def scored(seed: int, gain: float = 0.0) -> pa.Table:
    """Scores of the same crops by another detector: `gain` is added to the log-odds of the fakes."""
    table = random_frames(METHODS)
    table = table.set_column(0, table.schema.field(0), pa.array([f"s{n}" for n in range(len(table))]))
    noise = np.random.default_rng(seed).normal(0, 0.3, len(table))
    logits = table["logit"].to_numpy() + noise + gain * table["label"].to_numpy()
    for name, values in (("logit", logits), ("score", expit(logits))):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values))
    return table


def rows_of(found: dict, metric: str, unit: str = "frame") -> list[dict]:
    return [row for row in found["rows"] if (row["metric"], row["unit"]) == (metric, unit)]


def test_differences_are_those_of_the_metrics_with_intervals_and_corrected_tests():
    tables = [scored(1), scored(2), scored(3, gain=1.5)]
    found = compare_tables(tables)
    assert (found["samples"], found["left_out"]) == (180, 0)
    rows = rows_of(found, "auc")
    assert [(row["first"], row["second"]) for row in rows] == [(0, 1), (0, 2), (1, 2)]
    aucs = [roc_auc_score(table["label"], table["logit"]) for table in tables]
    for row in rows:
        assert row["difference"] == pytest.approx(aucs[row["second"]] - aucs[row["first"]], abs=1e-9)
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]
        assert row["p_delong"] is None  # frames of a video are not independent
    assert rows[0]["interval"][0] < 0 < rows[0]["interval"][1]
    assert rows[1]["interval"][0] > 0
    assert rows[0]["p_bootstrap"] > 0.05 > rows[1]["p_bootstrap_holm"] >= rows[1]["p_bootstrap"]
    videos = rows_of(found, "auc", "video")
    ps = [row["p_delong"] for row in videos]
    assert [row["p_delong_holm"] for row in videos] == pytest.approx(holm(ps))
    assert not rows_of(found, "tpr_at_fpr_1")  # 60 reals cannot show it
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_difference_is_of_pairs():
    """Noise that two detectors share does not widen the interval of their difference."""
    first, second = scored(1), scored(2)
    [row] = rows_of(compare_tables([first, second]), "auc")
    from facemill.pipeline.evaluate.intervals import judge

    low, high = judge([first])["intervals"]["auc"]
    assert row["interval"][1] - row["interval"][0] < (high - low) / 2


def test_only_common_crops_are_compared_in_whatever_order(tmp_path: Path):
    first, second = scored(1), scored(2)
    shuffled = second.take(np.random.default_rng(0).permutation(len(second))[:150])
    kept = first.filter(pa.compute.is_in(first["sample_id"], value_set=shuffled["sample_id"].combine_chunks()))
    expected = rows_of(compare_tables([kept, shuffled]), "auc")
    found = compare_tables([first, shuffled])
    assert (found["samples"], found["left_out"]) == (150, 30)
    assert rows_of(found, "auc")[0]["difference"] == pytest.approx(expected[0]["difference"])
    other = first.set_column(1, first.schema.field(1), pa.array(["x"] * len(first)))
    with pytest.raises(ConfigError, match="no crop in common"):
        compare_tables([first, other])


def test_folders_are_read_and_faults_are_one_sentence(tmp_path: Path):
    for name, table in (("a", scored(1)), ("b", scored(2)), ("c/seed-0", scored(1))):
        (tmp_path / name).mkdir(parents=True)
        pq.write_table(table, tmp_path / name / "scores.parquet")
    found = compare([tmp_path / "a", tmp_path / "b"], video_score="median")
    assert found["evaluations"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(ConfigError, match="two or more"):
        compare([tmp_path / "a"])
    with pytest.raises(ConfigError, match="a folder for each seed"):
        compare([tmp_path / "a", tmp_path / "c"])
    with pytest.raises(ConfigError, match="does not exist"):
        compare([tmp_path / "a", tmp_path / "none"])
    pq.write_table(scored(1).drop_columns(["group"]), tmp_path / "b" / "scores.parquet")
    with pytest.raises(ConfigError, match="earlier version"):
        compare([tmp_path / "a", tmp_path / "b"])
