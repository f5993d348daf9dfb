"""Segments of partial fakes: planted scores, and AP and AR written straight from their definitions."""

import dataclasses
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from facemill.manifests.codes import LabelSource, MaskKind
from facemill.manifests.records import VideoEntry
from facemill.manifests.schemas import VIDEOS, to_table
from facemill.manifests.shards.dataset import DATASET_FILE
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.evaluate.scores import SCORES
from facemill.pipeline.evaluate.segments import (
    SEGMENT_METRICS,
    judge_segments,
    measure_segments,
    propose,
    segments_table,
)
from facemill.pipeline.train import TrainResult
from tests.manifests.small_dataset import make_sample
from tests.pipeline.data.built import build, video
from tests.pipeline.evaluate.score_rows import frame

ONE = np.ones((1, 1), int)
LOW, HIGH = -4.0, 4.0


def film(*forged: tuple[int, int], frames: int = 100, step: int = 1, fps: float = 25.0) -> tuple[np.ndarray, ...]:
    """Times, indices and perfect log-odds of every `step`-th frame."""
    index = np.arange(0, frames, step)
    logits = np.full(len(index), LOW)
    for start, end in forged:
        logits[(index >= start) & (index < end)] = HIGH
    return index / fps, index, logits


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    both = max(min(a[1], b[1]) - max(a[0], b[0]), 0)
    return both / (max(a[1], b[1]) - min(a[0], b[0])) if both else 0.0


def by_definition(proposals: list, periods: list) -> dict[str, float]:
    """AP and AR in loops: precision at each rank, the best of it at each recall or above, and means of recalls."""
    found = {}
    count = sum(map(len, periods))
    ranked = [(score, place, (start, end)) for place, ours in enumerate(proposals) for start, end, score in ours]
    ranked.sort(reverse=True)
    for least in (0.5, 0.75, 0.9, 0.95):
        taken, points = set(), []
        for rank, (_, place, segment) in enumerate(ranked, 1):
            taken.update((place, n) for n, one in enumerate(periods[place]) if overlap(segment, one) > least)
            points.append((len(taken), len(taken) / rank))
        best = [max((precision for hits, precision in points if hits >= n), default=0) for n in range(1, count + 1)]
        found[f"ap_{round(100 * least)}"] = sum(best) / count
    for most in (100, 50, 20, 10, 5):
        recalls = []
        for least in np.arange(50, 100, 5) / 100:
            hits = [
                any(overlap((start, end), one) > least for start, end, _ in proposals[place][:most])
                for place, truths in enumerate(periods)
                for one in truths
            ]
            recalls.append(sum(hits) / count)
        found[f"ar_{most}"] = float(np.mean(recalls))
    return found


def random_videos(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    proposals, periods = [], []
    for number in range(12):
        truth = np.sort(rng.random(2 * (number % 4)) * 20).reshape(-1, 2)
        near = np.repeat(truth, 3, axis=0) + rng.normal(0, 0.3, (3 * len(truth), 2))
        stray = np.sort(rng.random((number, 2)) * 20, axis=1)
        ours = np.concatenate([near, stray])
        ours = np.column_stack([ours.min(1), ours.max(1) + 1e-3, rng.random(len(ours))])
        proposals.append(ours[np.argsort(-ours[:, 2])])
        periods.append(truth)
    return proposals, periods


@pytest.mark.parametrize("seed", range(5))
def test_ap_and_ar_are_those_of_the_definition(seed: int) -> None:
    proposals, periods = random_videos(seed)
    found = measure_segments(proposals, periods, np.zeros(12, int), ONE)
    expected = by_definition(proposals, periods)
    assert tuple(found) == SEGMENT_METRICS == tuple(expected)
    assert {name: value[0] for name, value in found.items()} == pytest.approx(expected)
    assert 0 < expected["ap_50"] < 1


def test_a_weight_counts_a_group_s_videos_as_often() -> None:
    proposals, periods = random_videos(7)
    groups = np.arange(12) // 3
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 3], [0, 0, 0, 0]])
    found = measure_segments(proposals, periods, groups, weights)
    rows = [place for place in range(12) for _ in range(weights[1][groups[place]])]
    jitter = [proposals[v] - np.array([0, 0, 1e-9 * n]) for n, v in enumerate(rows)]  # distinct scores, same order
    alone = by_definition(jitter, [periods[v] for v in rows])
    assert {name: value[1] for name, value in found.items()} == pytest.approx(alone, abs=0.03)  # ties in the draw
    assert {name: value[1] for name, value in found.items() if name.startswith("ar")} == pytest.approx(
        {name: value for name, value in alone.items() if name.startswith("ar")}
    )
    assert all(np.isnan(value[2]) for value in found.values())


def test_equal_scores_are_taken_together_whatever_their_order() -> None:
    right, wrong = np.array([[0.0, 1.0, 0.5]]), np.array([[5.0, 6.0, 0.5]])
    for videos in ([right, wrong], [wrong, right]):
        truth = [np.array([[0.0, 1.0]]) if one is right else np.zeros((0, 2)) for one in videos]
        found = measure_segments(videos, truth, np.zeros(2, int), ONE)
        assert found["ap_50"] == [0.5]
    twice = [right, wrong, right]
    truth = [np.array([[0.0, 1.0]]), np.zeros((0, 2)), np.array([[0.0, 1.0]])]
    assert measure_segments(twice, truth, np.zeros(3, int), ONE)["ap_50"] == [pytest.approx(2 / 3)]


def test_planted_scores_have_the_known_ap_and_ar() -> None:
    """One period found exactly and first, one missed, and a proposal of a real video between: AP 1/2, AR 1/2."""
    exact, stray = np.array([[1.0, 2.0, 0.9]]), np.array([[0.0, 3.0, 0.8]])
    periods = [np.array([[1.0, 2.0]]), np.array([[4.0, 5.0]]), np.zeros((0, 2))]
    found = measure_segments([exact, np.zeros((0, 3)), stray], periods, np.zeros(3, int), ONE)
    assert set(map(float, np.concatenate(list(found.values())))) == {0.5}
    late = np.array([[1.0, 2.0, 0.7]])  # after the wrong one: precision 1/2 at recall 1/2
    found = measure_segments([late, np.zeros((0, 3)), stray], periods, np.zeros(3, int), ONE)
    assert found["ap_95"] == [0.25]
    half = np.array([[1.0, 1.62, 0.9]])  # IoU of 0.62: above three of ten
    found = measure_segments([half], periods[:1], np.zeros(1, int), ONE)
    assert (found["ap_50"], found["ap_75"], found["ar_5"]) == ([1.0], [0.0], [pytest.approx(0.3)])


@pytest.mark.parametrize("step", [1, 5])
def test_perfect_scores_of_frames_give_the_periods(step: int) -> None:
    forged = ((20, 30), (50, 90))
    found = propose(*film(*forged, step=step))
    for start, end in forged:
        segment = max(found[:2].tolist(), key=lambda one: overlap((one[0], one[1]), (start / 25, end / 25)))
        edge = 0.5 / 25 * (step - 1)  # between two sampled frames the boundary is unknown
        assert segment[:2] == pytest.approx((start / 25, end / 25), abs=edge + 1e-9)
    assert np.all(np.diff(found[:, 2]) <= 0)
    contrast = 1 / (1 + np.exp(LOW)) - 1 / (1 + np.exp(HIGH))
    counts = np.array([40, 10]) / step
    assert found[:2, 2] == pytest.approx(contrast * counts / (counts + 4))
    assert np.all(found[2:, 2] < found[1, 2])


def test_a_fake_that_is_forged_throughout_is_one_segment_and_a_real_none_of_weight() -> None:
    times, frames, _ = film()
    [whole] = propose(times, frames, np.full(100, 3.0))
    assert whole == pytest.approx([0, 4, 100 / 104 / (1 + np.exp(-3))])
    noise = np.random.default_rng(0).normal(-6, 0.5, 100)
    assert propose(times, frames, noise)[:, 2].max() < 0.01
    assert len(propose(times, frames, noise)) <= 100


def test_noise_makes_no_segments_of_single_frames() -> None:
    """Half of the videos are real; of the others 15 of 200 frames are forged, and as far apart as 2.7 deviations."""
    rng, frames = np.random.default_rng(0), np.arange(200)
    proposals, periods = [], []
    for video_number in range(40):
        start = rng.integers(0, 185)
        forged = (frames >= start) & (frames < start + 15) & (video_number % 2 == 0)
        proposals.append(propose(frames / 25, frames, rng.normal(-3, 1.5, 200) + 4 * forged))
        periods.append(np.array([[start / 25, (start + 15) / 25]])[: int(forged.any())])
    found = measure_segments(proposals, periods, np.zeros(40, int), ONE)
    assert found["ap_50"] > 0.9
    assert found["ap_75"] > 0.7


def test_a_better_scored_proposal_lowers_those_that_overlap_with_it() -> None:
    times, frames, logits = film((20, 60))
    logits = logits + np.random.default_rng(0).normal(0, 0.3, 100)
    found = propose(times, frames, logits)
    assert overlap(tuple(found[0, :2]), (20 / 25, 60 / 25)) > 0.95
    near = [score for start, end, score in found[1:] if overlap((start, end), (20 / 25, 60 / 25)) > 0.9]
    assert max(near, default=0) < 0.3


def test_a_video_without_times_or_with_one_frame_proposes_nothing() -> None:
    assert propose(np.zeros(4), np.arange(4), np.array([0.0, 1, 2, 3])).shape == (0, 3)
    assert propose(np.zeros(1), np.arange(1), np.zeros(1)).shape == (0, 3)


# Built datasets: two fakes and their reals in two qualities' names, every frame a sample.

FORGED = {"a": ((0.4, 0.8),), "b": ((1.2, 1.6), (2.0, 2.4))}


def entries() -> list[VideoEntry]:
    fakes = [dataclasses.replace(video(name, 1, "test"), fake_periods=periods) for name, periods in FORGED.items()]
    return [*fakes, video("r", 0, "test"), video("s", 0, "test")]


def built(root: Path, videos: list[VideoEntry], unforged: str = "keep_as_real") -> Path:
    """75 frames at 25 per second; those of a fake outside its periods are labelled real, as `build` labels them."""
    samples = []
    for entry in videos:
        for index in range(0, 75, 3):
            sample = make_sample(entry, index)
            forged = entry.label and entry.forged_at(index / 25) is not False
            label = {} if forged == bool(entry.label) else {
                "label": 0, "label_source": LabelSource.PERIODS, "mask_kind": MaskKind.ZEROS, "mask_coverage": 0.0
            }  # fmt: skip
            samples.append(
                dataclasses.replace(sample, record=dataclasses.replace(sample.record, pts_s=index / 25, **label))
            )
    build(root, samples)
    pq.write_table(to_table(videos, VIDEOS), root / "videos.parquet")
    info = json.loads((root / DATASET_FILE).read_text())
    info["recipe"]["label"] = {"unforged": unforged}
    (root / DATASET_FILE).write_text(json.dumps(info))
    return root


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("partial") / "data", entries())


def oracle(folder: Path, *, without: str = "", corruption: str = "none") -> pa.Table:
    rows = []
    for row in pq.read_table(folder / "samples.parquet").to_pylist():
        if row["video_id"] != without:
            keys = ("sample_id", "dataset", "quality", "split", "frame_index", "label")
            score = 0.95 if row["label"] else 0.05
            rows.append(frame(row["video_id"], score, method=row["method"], corruption=corruption,
                              **{key: row[key] for key in keys}))  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCORES)


def test_scores_that_know_the_frames_labels_find_every_segment(partial: Path) -> None:
    crops = pq.read_table(partial / "samples.parquet")
    noise = oracle(partial, corruption="noise")
    wrong = noise.set_column(
        noise.schema.get_field_index("logit"), SCORES.field("logit"), pa.array(np.arange(len(noise)) * 1.0)
    )
    [row], missing = judge_segments([partial], "test", crops, [pa.concat_tables([oracle(partial), wrong])])
    assert (row["dataset"], row["quality"], row["videos"], row["periods"], row["groups"]) == ("toy", "native", 4, 3, 4)
    assert (row["ap_50"], row["ap_75"]) == (1, 1)  # of every third frame, the boundaries are known to one frame
    assert 0.7 < row["ar_100"] < 1
    assert missing == []


def test_a_frame_is_as_forged_as_its_most_forged_face(partial: Path) -> None:
    """Beside the forged person stands another, who is real throughout."""
    crops, scores = pq.read_table(partial / "samples.parquet"), oracle(partial)
    names = pa.array([f"{name}-beside" for name in crops["sample_id"].to_pylist()])

    def renamed(table: pa.Table) -> pa.Table:
        return table.set_column(0, table.schema.field(0), names)

    real = renamed(scores).set_column(9, scores.schema.field(9), pa.array([LOW] * len(scores)))
    assert real.schema.names[9] == "logit"
    [alone], _ = judge_segments([partial], "test", crops, [scores])
    for tables in ([scores, real], [real, scores]):
        both = pa.concat_tables([crops, renamed(crops)])
        [row], _ = judge_segments([partial], "test", both, [pa.concat_tables(tables)])
        assert row == alone


def test_periods_of_a_video_without_scores_are_missed(partial: Path) -> None:
    crops = pq.read_table(partial / "samples.parquet")
    [row], _ = judge_segments([partial], "test", crops, [oracle(partial, without="b")])
    assert (row["periods"], row["ap_50"]) == (3, pytest.approx(1 / 3))
    assert row["intervals"]["ap_50"][0] < 1 / 3 < row["intervals"]["ap_50"][1]


def test_fakes_of_unknown_periods_are_left_out_and_seeds_have_a_spread(tmp_path: Path) -> None:
    folder = built(tmp_path / "data", [*entries(), video("c", 1, "test")])
    crops = pq.read_table(folder / "samples.parquet")
    [row], _ = judge_segments([folder], "test", crops, [oracle(folder), oracle(folder, without="b")])
    assert row["videos"] == 4
    assert row["ap_50"] == pytest.approx(2 / 3)
    assert row["spread"]["ap_50"] == pytest.approx(np.std([1, 1 / 3], ddof=1))


def test_nothing_is_judged_without_periods_or_without_the_frames_outside_them(tmp_path: Path) -> None:
    plain = built(tmp_path / "plain", [video("a", 1, "test"), video("r", 0, "test")])
    assert judge_segments([plain], "test", pq.read_table(plain / "samples.parquet"), [oracle(plain)]) == ([], [])
    dropped = built(tmp_path / "dropped", entries(), unforged="drop")
    rows, [sentence] = judge_segments([dropped], "test", pq.read_table(dropped / "samples.parquet"), [oracle(dropped)])
    assert rows == []
    assert "build it with label.unforged=keep_as_real" in sentence


def test_a_partial_fake_s_real_frames_count_as_real(finished: TrainResult, partial: Path, tmp_path: Path) -> None:
    found = evaluate(finished.run, partial, tmp_path)
    scores = pq.read_table(tmp_path / "scores.parquet").to_pandas()
    forged = sum(entry.forged_at(index / 25) is True for entry in entries() for index in range(0, 75, 3))
    overall = found.metrics["frame"]["overall"]
    assert (overall["fakes"], overall["reals"]) == (forged, 4 * 25 - forged)
    assert 0 < forged < 25
    [row] = json.loads((tmp_path / "metrics.json").read_text())["segments"]
    assert {*SEGMENT_METRICS, "intervals", "periods"} <= row.keys()
    assert scores.groupby("video_id").label.nunique().to_dict() == {"a": 2, "b": 2, "r": 1, "s": 1}


def test_the_table_fits_a_terminal(partial: Path) -> None:
    crops = pq.read_table(partial / "samples.parquet")
    rows, _ = judge_segments([partial], "test", crops, [oracle(partial, without="b")])
    text = StringIO()
    Console(file=text, width=80).print(segments_table(rows))
    lines = text.getvalue().splitlines()
    assert lines[1].split() == ["segments", "periods", "AP@50", "AP@75", "AP@95", "AR@100", "AR@50", "AR@20", "AR@10"]
    assert lines[3].split()[:4] == ["toy", "native", "3", "0.333"]
