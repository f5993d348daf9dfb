from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes

from facemill.pipeline.evaluate.metrics import compute_metrics, score_videos, split_methods
from facemill.pipeline.figures.plots import draw_roc, draw_scores
from tests.pipeline.evaluate.score_rows import frame, frames, random_frames


@pytest.fixture(autouse=True)
def _unrendered_plots() -> None:
    """They are rendered here."""


@pytest.fixture
def drawn(monkeypatch) -> list[Axes]:
    """The axes of each picture, caught when they get their title."""
    caught = []
    set_title = Axes.set_title

    def catch(axes, *args, **kwargs):
        caught.append(axes)
        return set_title(axes, *args, **kwargs)

    monkeypatch.setattr(Axes, "set_title", catch)
    return caught


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))


def test_roc_has_a_curve_for_each_method_and_one_for_all(drawn, tmp_path):
    rows = score_videos(random_frames({"Deepfakes": 2.0, "FaceSwap": 0.0}))
    draw_roc(rows, tmp_path / "roc.png", title="ROC")
    labels = [line.get_label() for line in drawn[0].get_lines()][:3]
    aucs = [compute_metrics(g.rows["score"], g.rows["label"])["auc"] for g in split_methods(rows)]
    overall = compute_metrics(rows["score"], rows["label"])["auc"]
    assert labels == [
        f"Deepfakes  AUC {aucs[0]:.3f}",
        f"FaceSwap  AUC {aucs[1]:.3f}",
        f"all  AUC {overall:.3f}",
    ]
    x, y = drawn[0].get_lines()[2].get_data()
    assert np.trapezoid(y, x) == pytest.approx(overall, abs=1e-6)
    assert min(read(tmp_path / "roc.png").shape[:2]) > 500


@pytest.mark.filterwarnings("error")
def test_names_are_drawn_as_they_are_and_never_as_mathematics(drawn, tmp_path):
    names = ["$\\frac{x$", "_hidden", "GAN[v1]", "\x1b[31mred", "名前"]
    draw_roc(score_videos(random_frames(dict.fromkeys(names, 1.0))), tmp_path / "roc.png", title="$\\frac{x$ \x1b")
    texts = [text.get_text().split("  AUC")[0].strip() for text in drawn[0].get_legend().get_texts()]
    assert sorted(texts) == sorted([*names[:3], r"\x1b[31mred", "名前", "all"])
    assert drawn[0].get_title() == r"$\frac{x$ \x1b"


def test_bars_of_each_class_sum_to_one(drawn, tmp_path):
    draw_scores(random_frames({"Deepfakes": 2.0}), tmp_path / "scores.png", title="scores")
    real, fake = (sum(bar.get_height() for bar in container) for container in drawn[0].containers)
    assert (real, fake) == (pytest.approx(1), pytest.approx(1))
    assert read(tmp_path / "scores.png").size
    figure = drawn[0].figure
    [legend] = figure.legends
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["real", "fake"]
    assert legend.get_window_extent().y1 < drawn[0].get_window_extent().y0, "it hides no bar"


@pytest.mark.parametrize("draw", [draw_roc, draw_scores])
def test_one_class_alone_is_drawn_too(draw, tmp_path):
    draw(frames(frame("a", 0.2), frame("b", 0.4)), tmp_path / "one.png", title="reals only")
    assert read(tmp_path / "one.png").size
