"""What a run had seen is told apart from what it had not: by commands, on shards of noise."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill.manifests.records import VideoEntry
from facemill.pipeline.evaluate.seen import separate
from tests.integration.command import facemill
from tests.pipeline.data.built import build, samples_of, video
from tests.pipeline.evaluate.score_rows import random_frames
from tests.pipeline.trained import SMALL

pytestmark = pytest.mark.heavy

METHODS = ("real", "A", "B", "C")
SETS = [f"--set={value}" for value in (*SMALL, "train.epochs=1", "train.model.pretrained=false")]


def entries(dataset: str, splits: tuple[str, ...] = ("train", "val", "test")) -> Iterator[VideoEntry]:
    """A real and a fake of each method in each split; subjects are those of the split."""
    for split in splits:
        named = split if dataset == "toy" else f"{dataset}-{split}"
        for method in METHODS:
            plain = dataclasses.replace(video(f"{named}-{method}", int(method != "real"), split), method=method)
            source = None if method == "real" else f"{named}-real"
            yield dataclasses.replace(plain, dataset=dataset, source_id=source, subject_ids=(f"{dataset}-{split}",))


def train(data: Path, out: Path, *more: object) -> None:
    ended = facemill("train", "mat", data, "--out", out, "--device=cpu", "--workers=0", "--quiet", *SETS, *more)
    assert ended.code == 0, ended.out + ended.err


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("methods") / "toy", samples_of(list(entries("toy")), (0, 10)))


@pytest.fixture(scope="module")
def run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    train(toy, out, "--methods=A,B,C", "--without=C")
    return out


def evaluated(run: Path, out: Path, *data: Path, split: str = "test") -> tuple[dict, str]:
    ended = facemill("evaluate", run, *data, "--out", out, "--device=cpu", "--workers=0", f"--split={split}")
    assert ended.code == 0, ended.err
    return json.loads((out / "metrics.json").read_text()), ended.out + ended.err


def methods(part: dict) -> list[tuple[str, str]]:
    return [(row["dataset"], row["method"]) for row in part["frame"]["methods"]]


def trained_on(run: Path) -> set[str]:
    return set(pq.read_table(run / "trained_on.parquet")["method"].to_pylist())


def test_a_run_is_trained_on_the_methods_it_is_told(run: Path, toy: Path, tmp_path: Path) -> None:
    settings = json.loads((run / "config.json").read_text())["train"]
    assert (settings["methods"], settings["without"]) == (["A", "B", "C"], ["C"])
    assert trained_on(run) == {"real", "A", "B"}
    resumed = shutil.copytree(run, tmp_path / "run")
    train(toy, resumed, "--resume", "--set=train.epochs=2")
    assert json.loads((resumed / "config.json").read_text())["train"]["without"] == ["C"]
    assert trained_on(resumed) == {"real", "A", "B"}
    other = facemill("train", "mat", toy, "--out", resumed, "--device=cpu", "--resume", *SETS, "--without=A")
    assert (other.code, "different settings (train)" in other.err) == (2, True), other.err


def test_a_method_to_leave_out_must_be_there(toy: Path, tmp_path: Path) -> None:
    ended = facemill("train", "mat", toy, "--out", tmp_path / "run", "--device=cpu", *SETS, "--without=D")
    assert ended.code == 2
    assert "No fake is of the method 'D', which is left out: there are A, B, C." in " ".join(ended.err.split())


def test_seen_and_unseen_methods_have_tables_of_their_own(run: Path, toy: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other", samples_of(list(entries("other", ("test",))), (0, 10)))
    metrics, told = evaluated(run, tmp_path / "out", toy, other)
    assert set(metrics["parts"]) == {"seen", "unseen"}
    seen, unseen = metrics["parts"]["seen"], metrics["parts"]["unseen"]
    assert methods(seen) == [("toy", "A"), ("toy", "B")]
    assert methods(unseen) == [("other", "A"), ("other", "B"), ("other", "C"), ("toy", "C")]
    assert [(part["frame"]["overall"]["reals"], part["frame"]["overall"]["fakes"]) for part in (seen, unseen)] == [
        (2, 4),
        (4, 8),
    ]
    first, second = told.index("Methods seen in training"), told.index("Methods not seen in training")
    assert " other " not in told[first:second]
    assert "other" in told[second:]
    assert metrics["subjects_trained_on"] == metrics["originals_trained_on"] == 0


def test_known_videos_subjects_and_originals_are_told(run: Path, tmp_path: Path) -> None:
    """A video that was trained on, one of a subject of validation, a fake of an original of training, and new ones."""

    def fake(name: str, **fields: object) -> VideoEntry:
        return dataclasses.replace(video(name, 1, "test"), method="C", **fields)

    videos = [
        dataclasses.replace(video("train-real", 0, "test"), subject_ids=("toy-train",)),
        fake("person", subject_ids=("nobody", "toy-val")),
        fake("made", source_id="train-real"),
        fake("new", source_id="elsewhere", subject_ids=("nobody",)),
        fake("orphan"),
    ]
    data = build(tmp_path / "data", samples_of(videos, (0, 10)))
    metrics, told = evaluated(run, tmp_path / "out", data)
    counts = {"videos_trained_on": 1, "subjects_trained_on": 1, "originals_trained_on": 1}
    assert {name: metrics[name] for name in counts} == counts
    assert {name: metrics["parts"]["unseen"][name] for name in counts} == counts
    told = " ".join(told.split())
    assert "The run was trained or validated on 1 of these videos, toy train-real among them." in told
    assert "knows 2 more of these videos in part, toy made among them: 1 by a subject, 1 by an original" in told
    assert "Methods not seen in training (1 videos trained on, 1 with known subjects, 1 with known originals)" in told


def test_a_run_without_a_list_of_methods_says_so(run: Path, toy: Path, tmp_path: Path) -> None:
    older = shutil.copytree(run, tmp_path / "older")
    listed = pq.read_table(older / "trained_on.parquet")
    pq.write_table(listed.drop_columns(["method", "source_id", "subject_ids"]), older / "trained_on.parquet")
    metrics, told = evaluated(older, tmp_path / "out", toy, split="val")
    assert list(metrics["parts"]) == ["unknown"]
    assert metrics["videos_trained_on"] == 3
    assert "Methods that may have been seen in training (3 videos trained on)" in " ".join(told.split())


def test_reals_are_beside_the_fakes_of_their_dataset_and_quality() -> None:
    scores = random_frames({"A": 1.0, "B": 1.0})
    dataset, quality = scores["dataset"][0].as_py(), scores["quality"][0].as_py()
    alone = random_frames({}, dataset="reals", quality=quality)
    known = scores.filter([method != "B" for method in scores["method"].to_pylist()])
    parts = separate(pa.concat_tables([scores, alone]), known)
    found = {
        name: set(zip(rows["dataset"].to_pylist(), rows["method"].to_pylist(), strict=True))
        for name, rows in parts.items()
    }
    seen = {(dataset, "real"), (dataset, "A")}
    assert found == {"seen": seen, "unseen": {(dataset, "real"), (dataset, "B"), ("reals", "real")}}
