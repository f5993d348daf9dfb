import json
from io import StringIO

import pyarrow as pa
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from facemill.pipeline.evaluate.coverage import UNSCORED
from facemill.pipeline.evaluate.report import build_report, metrics_table, robustness_table, write_report
from tests.pipeline.evaluate.score_rows import frame, frames, random_frames

METHODS = {"Deepfakes": 1.0, "FaceSwap": 0.2}
CONTRAST = {"corruption": "contrast", "severity": 2}


@pytest.fixture(scope="module")
def scores() -> pa.Table:
    return pa.concat_tables(
        [
            random_frames(METHODS),
            random_frames({"Synthesis": 0.5}, seed=1, dataset="celebdf", quality="native"),
            random_frames(METHODS, seed=2, corruption="contrast", severity=1),
            random_frames(METHODS, seed=3, corruption="contrast", severity=2),
            random_frames(METHODS, seed=4, corruption="compression", severity=1),
            random_frames({"Synthesis": 0.5}, seed=5, dataset="celebdf", quality="native", **CONTRAST),
        ]
    )


def auc(rows: list[dict]) -> float:
    return roc_auc_score([row["label"] for row in rows], [row["score"] for row in rows])


def clean(scores: pa.Table, **wanted: str) -> list[dict]:
    rows = [row for row in scores.to_pylist() if row["corruption"] == "none"]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_frames_are_judged_overall_by_dataset_and_by_method(scores):
    report = build_report(scores)["frame"]
    assert report["overall"]["auc"] == pytest.approx(auc(clean(scores)), abs=1e-6)
    assert (report["overall"]["reals"], report["overall"]["fakes"]) == (120, 180)
    assert [(row["dataset"], row["quality"]) for row in report["datasets"]] == [("celebdf", "native"), ("ffpp", "c23")]
    assert report["datasets"][1]["auc"] == pytest.approx(auc(clean(scores, dataset="ffpp")), abs=1e-6)
    assert [(row["dataset"], row["quality"], row["method"]) for row in report["methods"]] == [
        ("celebdf", "native", "Synthesis"),
        ("ffpp", "c23", "Deepfakes"),
        ("ffpp", "c23", "FaceSwap"),
    ]
    alone = [row for row in clean(scores, dataset="ffpp") if row["method"] in ("real", "FaceSwap")]
    assert report["methods"][2]["auc"] == pytest.approx(auc(alone), abs=1e-6)


def test_videos_are_judged_by_the_mean_of_their_frames(scores):
    report = build_report(scores)["video"]
    means: dict[tuple, list] = {}
    for row in clean(scores):
        means.setdefault((row["dataset"], row["video_id"], row["label"]), []).append(row["score"])
    rows = [{"label": label, "score": sum(of) / len(of)} for (_, _, label), of in means.items()]
    assert report["overall"]["auc"] == pytest.approx(auc(rows), abs=1e-6)
    assert (report["overall"]["reals"], report["overall"]["fakes"]) == (20, 30)


def test_robustness_has_a_row_for_each_corruption(scores):
    rows = build_report(scores)["robustness"]["overall"]
    assert [(row["corruption"], row["severity"]) for row in rows] == [
        ("contrast", 1),
        ("contrast", 2),
        ("compression", 1),
    ]
    worse = [row for row in scores.to_pylist() if (row["corruption"], row["severity"]) == ("contrast", 2)]
    assert rows[1]["frame_auc"] == pytest.approx(auc(worse), abs=1e-6)
    assert rows[1]["video_auc"] is not None


def test_robustness_is_told_for_each_dataset_too(scores):
    rows = build_report(scores)["robustness"]["datasets"]
    assert [(row["dataset"], row["quality"], row["corruption"], row["severity"]) for row in rows] == [
        ("celebdf", "native", "contrast", 2),
        ("ffpp", "c23", "contrast", 1),
        ("ffpp", "c23", "contrast", 2),
        ("ffpp", "c23", "compression", 1),
    ]
    contrast = [row for row in scores.to_pylist() if (row["corruption"], row["severity"]) == ("contrast", 2)]
    for row, dataset in ((rows[0], "celebdf"), (rows[2], "ffpp")):
        assert row["frame_auc"] == pytest.approx(auc([r for r in contrast if r["dataset"] == dataset]), abs=1e-6)


def test_equal_ids_in_two_qualities_do_not_mix():
    """As when two builds of the same videos name them alike."""
    low = random_frames(METHODS, seed=6, quality="c40")
    scores = pa.concat_tables([random_frames(METHODS), low, random_frames({"FaceShifter": 1.0}, seed=7, quality="c40")])
    report = build_report(scores)
    for unit, reals in (("frame", (60, 120)), ("video", (10, 10))):
        found = [(row["quality"], row["reals"]) for row in report[unit]["datasets"]]
        assert found == [("c23", reals[0]), ("c40", reals[1])]
    c23 = clean(scores, quality="c23")
    assert report["frame"]["datasets"][0]["auc"] == pytest.approx(auc(c23), abs=1e-6)
    assert report["video"]["datasets"][0] == build_report(random_frames(METHODS))["video"]["datasets"][0]
    text = shown(metrics_table(report))
    for name in ("ffpp c23", "ffpp c40", "ffpp c23 Deepfakes", "ffpp c40 Deepfakes", "ffpp c40 FaceShifter"):
        assert name in text


def test_metrics_json_is_strict_json_even_of_one_class(tmp_path):
    report = build_report(frames(frame("a", 0.2), frame("b", 0.7)))
    write_report(report, tmp_path / "metrics.json")
    read = json.loads((tmp_path / "metrics.json").read_text())
    assert read == report
    assert read["frame"]["overall"]["auc"] is None
    assert read["frame"]["overall"]["acc"] == 0.5
    assert read["frame"]["methods"] == []
    assert read["robustness"] == {"overall": [], "datasets": []}


def shown(*tables: object) -> str:
    text = StringIO()
    Console(file=text, width=80).print(*tables)
    return text.getvalue()


def test_the_tables_fit_a_terminal(scores):
    report = build_report(scores)
    text = shown(metrics_table(report), robustness_table(report))
    assert "…" not in text
    for name in ("all", "celebdf native", "ffpp c23", "ffpp c23 FaceSwap", "contrast", "ffpp c23 compression"):
        assert name in text
    line = next(line for line in text.splitlines() if "ffpp c23 FaceSwap" in line)
    assert line.split()[3:6] == ["120", *(f"{report['frame']['methods'][2][key]:.3f}" for key in ("acc", "auc"))]
    missing = next(line for line in text.splitlines() if "compression" in line)
    assert missing.split()[-1] == "-"  # severity 2 was not tried


def test_the_table_of_one_dataset_names_methods_only():
    text = shown(metrics_table(build_report(random_frames({"NeuralTextures": 0.3}))))
    named = [line.split()[0] for line in text.splitlines()[3:] if line.strip() and not line.startswith("   ")]
    assert named == ["all", "NeuralTextures"]


def test_names_are_not_taken_for_markup():
    names = ["GAN[v1]", "GAN[v2]", "[/x]", "\x1b[31mred"]
    report = build_report(random_frames(dict.fromkeys(names, 1.0)))
    text = shown(metrics_table(report), robustness_table(report))
    assert all(name in text for name in (*names[:3], r"\x1b[31mred"))
    assert "\x1b" not in text


def test_every_line_has_intervals_and_what_was_not_scored(scores):
    lost = {"dataset": "ffpp", "quality": "c23", "method": "FaceSwap", "video_id": "x", "frames": 3, "whole": False}
    unscored = pa.Table.from_pylist([lost, {**lost, "video_id": "y", "frames": 0, "whole": True}], schema=UNSCORED)
    report = build_report(scores, unscored=unscored)
    for unit in ("frame", "video"):
        rows = [report[unit]["overall"], *report[unit]["datasets"], *report[unit]["methods"]]
        for row in rows:
            low, high = row["intervals"]["brier"]
            assert low < row["brier"] < high
            assert row["intervals"]["tpr_at_fpr_01"] is None  # there are too few reals
        counts = {row.get("method", row.get("dataset")): row["videos_unscored"] for row in rows}
        assert counts == {None: 1, "ffpp": 1, "celebdf": 0, "Synthesis": 0, "Deepfakes": 0, "FaceSwap": 1}
    for row in report["robustness"]["overall"]:
        low, high = row["frame_auc_interval"]
        assert low < row["frame_auc"] < high
    lines = [line.split() for line in shown(metrics_table(report)).splitlines()]
    assert [line[2:] for line in lines if line[:2] == ["not", "scored"]] == [["3", "1"]] * 3  # all, ffpp and FaceSwap
    low, high = report["video"]["overall"]["intervals"]["eer"]
    assert [line[-1] for line in lines if line[:2] == ["95", "%"]][:2] == [f"{low:.3f}", f"{high:.3f}"]
