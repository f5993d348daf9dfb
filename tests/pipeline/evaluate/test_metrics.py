import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.special import expit
from sklearn import metrics as sk

from facemill import ConfigError
from facemill.pipeline.evaluate.metrics import (
    check_aggregate,
    compute_metrics,
    roc_curve,
    score_videos,
    split_datasets,
    split_methods,
)
from facemill.pipeline.evaluate.report import build_report
from facemill.pipeline.evaluate.weighted import Judged
from tests.pipeline.evaluate.score_rows import frame, frames

# Few distinct values, so that scores tie within and across the classes.
TIED = st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])
SCORES = st.one_of(TIED, st.floats(0, 1))
JUDGED = st.lists(st.tuples(SCORES, st.integers(0, 1)), min_size=2, max_size=60)


def equal_error_rate(scores, labels) -> float:
    """The root of FNR - FPR on scikit-learn's curve."""
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    # The root is sought along the curve, since a curve may climb without moving to the right.
    steps = np.arange(len(fpr))
    right, up = interp1d(steps, fpr), interp1d(steps, tpr)
    return float(right(brentq(lambda at: 1 - up(at) - right(at), 0, steps[-1], xtol=1e-14)))


@given(JUDGED)
@settings(max_examples=80, deadline=None)
def test_metrics_are_those_of_scikit_learn(judged):
    scores, labels = (np.array(column) for column in zip(*judged, strict=True))
    found = compute_metrics(scores, labels)
    assert (found["reals"], found["fakes"]) == ((labels == 0).sum(), (labels == 1).sum())
    assert found["acc"] == pytest.approx(sk.accuracy_score(labels, scores > 0.5), abs=1e-6)
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, scores, labels=[0, 1]), abs=1e-9)
    assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, scores, pos_label=1), abs=1e-9)
    if found["reals"] and found["fakes"]:
        assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-6)
        assert found["ap"] == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-6)
        assert found["eer"] == pytest.approx(equal_error_rate(scores, labels), abs=1e-6)
        assert found["partial_auc"] == pytest.approx(sk.roc_auc_score(labels, scores, max_fpr=0.1), abs=1e-6)
        assert found["balanced_acc"] == pytest.approx(sk.balanced_accuracy_score(labels, scores > 0.5), abs=1e-6)
    else:
        assert (found["auc"], found["ap"], found["eer"], found["partial_auc"], found["balanced_acc"]) == (None,) * 5


def rate_at(labels, scores, most: float) -> float:
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    return max(tpr[fpr <= most])


@pytest.mark.parametrize("seed", range(5))
def test_rates_and_calibration_of_tied_scores(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 2500)
    scores = np.round(1 / (1 + np.exp(-random.normal(2 * labels - 1, 1.5))), 3)
    found = compute_metrics(scores, labels, threshold=0.7)
    assert found["tpr_at_fpr_1"] == pytest.approx(rate_at(labels, scores, 0.01))
    assert found["tpr_at_fpr_01"] == pytest.approx(rate_at(labels, scores, 0.001))
    assert found["acc_val"] == pytest.approx(sk.accuracy_score(labels, scores > 0.7))
    assert found["balanced_acc_val"] == pytest.approx(sk.balanced_accuracy_score(labels, scores > 0.7))
    error, bins = 0.0, np.digitize(scores, np.linspace(0, 1, 16)[1:-1])
    for number in range(15):
        chosen = bins == number
        if chosen.any():
            error += chosen.mean() * abs(scores[chosen].mean() - labels[chosen].mean())
    assert found["ece"] == pytest.approx(error)


def test_a_rate_needs_as_many_reals_as_can_show_it():
    labels = [0] * 99 + [1] * 50
    scores = np.linspace(0, 1, len(labels))
    few, more = compute_metrics(scores, labels), compute_metrics([*scores, 0.0], [*labels, 0])
    assert (few["tpr_at_fpr_1"], few["tpr_at_fpr_01"], few["acc_val"]) == (None, None, None)
    assert (more["tpr_at_fpr_1"], more["tpr_at_fpr_01"]) == (1, None)


def test_metrics_of_many_scores():
    random = np.random.default_rng(1)
    labels = (random.random(200_000) < 0.8).astype(int)
    scores = 1 / (1 + np.exp(-(random.normal(size=labels.size) + labels)))
    found = compute_metrics(scores, labels)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-6)
    assert found["ap"] == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-6)
    assert found["eer"] == pytest.approx(equal_error_rate(scores, labels), abs=1e-6)


@given(st.lists(st.tuples(SCORES, st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=40), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_a_group_counts_as_often_as_its_weight(judged, seed):
    """Against scikit-learn with the weights given to each sample."""
    scores, labels, groups = (np.array(column) for column in zip(*judged, strict=True))
    weights = np.random.default_rng(seed).integers(0, 4, (3, 4))
    found = Judged(scores, labels, scores, groups, 4).measure(weights)
    for row, given_weights in enumerate(weights):
        weight = given_weights[groups]
        both = all(weight[labels == label].sum() for label in (0, 1))
        assert both == bool(np.isfinite(found["auc"][row])) == bool(np.isfinite(found["eer"][row]))
        if both:
            for name, function, more in (
                ("auc", sk.roc_auc_score, {}),
                ("partial_auc", sk.roc_auc_score, {"max_fpr": 0.1}),
                ("ap", sk.average_precision_score, {}),
                ("log_loss", sk.log_loss, {}),
                ("brier", sk.brier_score_loss, {}),
            ):
                assert found[name][row] == pytest.approx(
                    function(labels, scores, sample_weight=weight, **more), abs=1e-9
                )
            repeated = np.repeat(np.arange(len(scores)), weight)
            assert found["eer"][row] == pytest.approx(equal_error_rate(scores[repeated], labels[repeated]), abs=1e-6)


@pytest.mark.parametrize(("scores", "labels"), [([], []), ([0.5, np.nan], [0, 1]), ([np.inf, 0.2], [0, 1])])
def test_nothing_is_defined_without_finite_scores(scores, labels):
    found = compute_metrics(scores, labels, threshold=0.5)
    assert {name for name, value in found.items() if value is not None} == {"reals", "fakes"}


def test_perfect_and_inverted_scores():
    labels = [0, 0, 1, 1, 1]
    right = compute_metrics([0.1, 0.2, 0.7, 0.8, 0.9], labels)
    assert (right["acc"], right["auc"], right["eer"], right["ap"]) == (1, 1, 0, 1)
    wrong = compute_metrics([0.9, 0.8, 0.3, 0.2, 0.1], labels)
    assert (wrong["acc"], wrong["auc"], wrong["eer"]) == (0, 0, 1)


def of_logit(name: str, logit: float, **fields) -> dict:
    return frame(name, float(expit(logit)), logit=logit, **fields)


def test_sure_scores_are_ranked_by_their_log_odds():
    """From 37 on every score is 1.0."""
    reals, fakes = np.linspace(38, 40, 9), np.linspace(41, 60, 20)
    labels = [0] * len(reals) + [1] * len(fakes)
    logits = np.concatenate([reals, fakes])
    scores = expit(logits)
    assert set(scores) == {1.0}
    assert compute_metrics(scores, labels)["auc"] == 0.5
    found = compute_metrics(scores, labels, logits)
    assert (found["auc"], found["eer"], found["ap"]) == (1, 0, 1)
    assert found["acc"] == pytest.approx(20 / 29)
    inverted = compute_metrics(scores, labels, -logits)
    assert (inverted["auc"], inverted["eer"]) == (0, 1)
    rows = frames(
        *(of_logit(f"r{n}", logit) for n, logit in enumerate(reals)),
        *(of_logit(f"f{n}", logit, method="swap") for n, logit in enumerate(fakes)),
    )
    report = build_report(rows)
    assert report["frame"]["overall"]["auc"] == report["video"]["overall"]["auc"] == 1
    assert roc_curve(logits, labels)[0][-10] == 0  # no false positive before every fake is found


def test_a_video_s_log_odds_are_those_of_its_score():
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, 30)
    videos = score_videos(frames(*(of_logit(f"v{n % 7}", float(logit)) for n, logit in enumerate(logits))))
    assert expit(videos["logit"].to_numpy()) == pytest.approx(videos["score"].to_numpy(), abs=1e-12)
    # One doubtful frame decides about a video, as it does about the mean, however sure the others are.
    doubtful, sure = score_videos(frames(of_logit("a", 50), of_logit("a", 900), of_logit("b", 51), of_logit("b", 51)))[
        "logit"
    ].to_pylist()
    assert doubtful == pytest.approx(50 + np.log(2), abs=1e-9)  # of two frames, one is not quite sure
    assert sure == pytest.approx(51, abs=1e-9)


def test_curve_runs_from_corner_to_corner():
    fpr, tpr = roc_curve([0.1, 0.4, 0.4, 0.8], [0, 1, 0, 1])
    assert fpr.tolist() == [0, 0, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 1, 1]


def test_a_video_scores_the_mean_of_its_frames():
    rows = frames(
        frame("a", 0.2),
        frame("b", 0.9, method="FaceSwap"),
        frame("a", 0.4),
        frame("a", 0.9),
        frame("b", 0.5, method="FaceSwap"),
    )
    videos = score_videos(rows).to_pylist()
    assert [(video["video_id"], video["frames"], video["label"], video["method"]) for video in videos] == [
        ("a", 3, 0, "real"),
        ("b", 2, 1, "FaceSwap"),
    ]
    assert [video["score"] for video in videos] == pytest.approx([0.5, 0.7])


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [("median", [0.4, 0.7]), ("max", [0.9, 0.9]), ("top:2", [0.65, 0.7]), ("top:9", [0.5, 0.7]), ("mean", [0.5, 0.7])],
)
def test_a_video_is_scored_otherwise_if_asked(aggregate, expected):
    fake = {"method": "FaceSwap"}
    scored = (("a", 0.2, {}), ("b", 0.9, fake), ("a", 0.4, {}), ("a", 0.9, {}), ("b", 0.5, fake))
    videos = score_videos(frames(*(frame(name, score, **fields) for name, score, fields in scored)), aggregate)
    assert videos["score"].to_pylist() == pytest.approx(expected)
    assert expit(videos["logit"].to_numpy()) == pytest.approx(expected)


def test_other_ways_to_score_a_video_are_refused():
    for name in ("min", "top:0", "top:", "top:x", "top"):
        with pytest.raises(ConfigError, match="choose mean, median, max or top:K"):
            check_aggregate(name)
    assert check_aggregate("top:3") == "top:3"


def test_a_video_is_known_by_dataset_quality_method_and_id_and_corruption():
    rows = frames(
        frame("a", 0.1, dataset="ffpp"),
        frame("a", 0.3, dataset="celebdf"),
        frame("a", 0.5, dataset="ffpp", corruption="contrast", severity=1),
        frame("a", 0.7, dataset="ffpp", corruption="contrast", severity=2),
        frame("a", 0.8, dataset="ffpp", quality="c40"),
        frame("a", 0.9, dataset="ffpp", method="FaceSwap"),
        frame("a", 1.0, dataset="ffpp", label=1),
    )
    assert score_videos(rows)["score"].to_pylist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])


def test_a_dataset_in_two_qualities_is_two():
    rows = frames(frame("a", 0.1, quality="c40"), frame("b", 0.2), frame("c", 0.3, quality="c40"), frame("d", 0.4))
    groups = [(g.dataset, g.quality, g.rows["video_id"].to_pylist()) for g in split_datasets(rows)]
    assert groups == [("ffpp", "c23", ["b", "d"]), ("ffpp", "c40", ["a", "c"])]


def test_a_method_stands_against_the_reals_of_its_dataset_and_quality():
    rows = frames(
        frame("r1", 0.1),
        frame("f1", 0.9, method="FaceSwap"),
        frame("d1", 0.8, method="Deepfakes"),
        frame("r2", 0.2, quality="c40"),
        frame("f2", 0.7, method="FaceSwap", quality="c40"),
        frame("r3", 0.3, dataset="celebdf"),
        frame("f3", 0.6, dataset="celebdf", method="FaceSwap"),
        frame("f4", 0.6, dataset="wild", method="FaceSwap"),
    )
    groups = [(g.dataset, g.quality, g.method, g.rows["video_id"].to_pylist()) for g in split_methods(rows)]
    assert groups == [
        ("celebdf", "c23", "FaceSwap", ["r3", "f3"]),
        ("ffpp", "c23", "Deepfakes", ["r1", "d1"]),
        ("ffpp", "c23", "FaceSwap", ["r1", "f1"]),
        ("ffpp", "c40", "FaceSwap", ["r2", "f2"]),
        ("wild", "c23", "FaceSwap", ["f4"]),
    ]


def test_a_table_of_reals_alone_has_no_methods():
    assert list(split_methods(frames(frame("a", 0.1)))) == []
    assert isinstance(score_videos(frames()), pa.Table)
