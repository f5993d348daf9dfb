"""Intervals of metrics: how often they cover the true value, and what they resample."""

import time

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from benchmarks.intervals import covered, simulate
from facemill.pipeline.evaluate.intervals import RESAMPLES, combine, find_interval, judge, weights_of
from facemill.pipeline.evaluate.metrics import score_videos
from facemill.pipeline.evaluate.weighted import METRICS, RATES, Judged
from tests.pipeline.evaluate.score_rows import random_frames


@pytest.mark.heavy
def test_intervals_of_groups_cover_and_intervals_of_videos_do_not():
    """Of 150 tables, so within two standard errors: see the next test."""
    by_group, by_video = covered(150, originals=40, auc=0.85, shared=0.9)
    assert 0.915 <= by_group <= 0.985
    assert by_video < by_group - 0.05


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("originals", "auc"), [(40, 0.8), (60, 0.95), (100, 0.7)])
def test_coverage_of_2000_tables(originals, auc):
    by_group, by_video = covered(2000, originals, auc)
    print(f"{originals} originals, AUC {auc}: groups {by_group:.4f}, videos {by_video:.4f}")
    assert 0.93 <= by_group <= 0.97
    assert by_video < 0.93


def with_groups(table: pa.Table, groups: list[str]) -> pa.Table:
    return table.set_column(table.schema.get_field_index("group"), "group", pa.array(groups))


def test_copies_of_a_group_s_rows_add_nothing_and_fewer_groups_widen():
    frames = random_frames({"swap": 0.5, "edit": 0.1})
    many = frames.take(np.repeat(np.arange(len(frames)), 10))
    one, ten = (judge([table])["intervals"] for table in (frames, many))
    for name in set(METRICS) - set(RATES):  # which need more reals than there are
        assert one[name] == pytest.approx(ten[name]), name
    names = [
        video.removeprefix("real").removeprefix("swap").removeprefix("edit") for video in frames["video_id"].to_pylist()
    ]
    grouped = judge([with_groups(frames, names)])
    assert (grouped["groups"], judge([frames])["groups"]) == (10, 30)


def test_the_interval_of_a_mean_is_student_s_or_nearly():
    random = np.random.default_rng(0)
    for groups in (12, 300):
        values = random.normal(5, 2, groups)
        weights = weights_of(groups)
        low, high = find_interval(weights @ values / weights.sum(1))
        half = {12: 2.201, 300: 1.968}[groups] * values.std(ddof=1) / groups**0.5
        assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.25 * half)


def test_an_interval_is_not_known_without_spread_or_with_one_group():
    assert find_interval(np.full(1 + 20 + RESAMPLES, 1.0)) is None
    assert find_interval(np.full(1 + 20 + RESAMPLES, np.nan)) is None
    assert find_interval(np.random.default_rng(0).random(1 + 1 + RESAMPLES)) is None
    apart = judge([random_frames({"swap": 90.0})])
    assert (apart["auc"], apart["intervals"]["auc"]) == (1, None)
    assert judge([random_frames({}).slice(0, 0)])["intervals"]["auc"] is None


def test_a_table_of_several_seeds_has_means_and_spread():
    tables = [random_frames({"swap": mean}) for mean in (0.2, 0.5, 0.8)]
    videos = [score_videos(table) for table in tables]
    alone = [judge([table]) for table in videos]
    found = judge(videos)
    for name in ("auc", "acc", "eer", "log_loss"):
        assert found[name] == pytest.approx(np.mean([one[name] for one in alone]))
        assert found["spread"][name] == pytest.approx(np.std([one[name] for one in alone], ddof=1))
    assert "spread" not in alone[0]
    low, high = found["intervals"]["auc"]
    half = 4.303 * found["spread"]["auc"] / 3**0.5  # of the seeds alone
    assert found["auc"] - low > half
    assert high - found["auc"] > half
    assert combine(np.full((1, 1 + 5 + RESAMPLES), 0.5))[1] is None


@pytest.mark.heavy
def test_a_thousand_resamples_take_seconds():
    """Of as many frames as FaceForensics++'s test split has: 140 originals with 4 fakes, 32 frames each."""
    random = np.random.default_rng(0)
    logits, labels, groups = (np.repeat(values, 32) for values in simulate(random, 140, 0.9, 0.5))
    logits = logits + random.normal(size=len(logits))
    start = time.perf_counter()
    Judged(expit(logits), labels, logits, groups, 140).measure(weights_of(140))
    assert time.perf_counter() - start < 20
