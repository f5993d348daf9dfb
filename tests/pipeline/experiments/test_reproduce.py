"""`facemill reproduce` from datasets to tables, with small networks on crops of noise."""

import csv
import dataclasses
import json
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from facemill import ConfigError
from facemill.manifests.shards.dataset import read_dataset, write_dataset
from facemill.pipeline.commands.cli import app
from facemill.pipeline.demo import make_corpus
from facemill.pipeline.experiments import select_experiments
from facemill.pipeline.experiments.estimate import estimate
from facemill.pipeline.experiments.jobs import Jobs
from facemill.pipeline.experiments.reproduce import batch_lines, prepare
from facemill.pipeline.experiments.results import make_tables, write_tables
from facemill.pipeline.runs.folder import read_config, read_trained_on
from facemill.pipeline.train import TrainResult, train
from tests.integration.command import facemill, start
from tests.integration.test_train import wait_until
from tests.pipeline.experiments.papers_data import METHODS, SHORT, TINY, build_paper_data

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

QUALITIES = {"ffpp": ("raw", "c23", "c40"), "dfd": ("c23",)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("papers")
    named = [(name, quality) for name in METHODS for quality in QUALITIES.get(name, ("native",))]
    return [f"{name}={build_paper_data(root, name, quality)}" for name, quality in named]


def plan(target: str, out: Path, data: list[str], *more: str, seeds: int = 1) -> Jobs:
    settings = [*TINY[target.partition("/")[0]], *SHORT, *more]
    return prepare([target], out, data=data, seeds=seeds, overrides=settings, device="cpu")


MORE = [
    pytest.param(target, marks=pytest.mark.long) for target in ("lrl/table3", "mat/table4", "sia/table2", "sola/table4")
]


@pytest.mark.parametrize("target", ["etd/table2", *MORE])
def test_a_table_of_each_paper(target: str, data: list[str], tmp_path: Path) -> None:
    jobs = plan(target, tmp_path, data)
    assert [why for _, why in jobs.run_all()] == [None] * len(jobs.all)
    write_tables(make_tables(jobs), tmp_path / "tables")
    page = tmp_path / "tables" / f"{target.partition('/')[0]}.csv"
    rows = list(csv.DictReader(page.read_text().splitlines()))
    assert len(rows) == sum(len(one.figures) for one in select_experiments([target]))
    assert all(0 <= float(row["ours"]) <= 100 for row in rows)
    text = page.with_suffix(".md").read_text()
    assert "not the paper's data" in text
    assert "Not the paper's settings: train.model" in text
    assert all(jobs.is_done(job) for job in jobs.all.values())
    assert list(jobs.run_all()) == []


def test_a_row_of_one_method_is_trained_on_that_method(data: list[str], tmp_path: Path) -> None:
    jobs = plan("lrl/table2/faceswap", tmp_path, data)
    jobs.run(next(iter(jobs.all)))
    [training] = jobs.plan.trainings
    used = read_trained_on(jobs.run_folder(training))
    assert used is not None
    assert {name.split("-")[1] for name in used["video_id"].to_pylist()} == {"real", "FaceSwap"}


def test_seeds_share_all_but_the_seed(data: list[str], tmp_path: Path) -> None:
    jobs = plan("mat/table2/efficientnet-b4-c23", tmp_path, data, seeds=2)
    assert all(why is None for _, why in jobs.run_all())
    configs = [read_config(jobs.run_folder(training)) for training in jobs.plan.trainings]
    assert [config.seed for config in configs] == [0, 1]
    assert configs[0].model_copy(update={"seed": 1, "data": configs[1].data}) == configs[1]
    [table] = make_tables(jobs)
    assert {line.ours.seeds for line in table.lines if line.ours is not None} == {2}
    assert "Student's t of 2 seeds" in table.notes[-1]


def test_a_failed_training_prevents_only_what_needs_it(data: list[str], tmp_path: Path) -> None:
    jobs = plan("mat/table4", tmp_path, data)
    broken, works = jobs.plan.trainings
    jobs.run_folder(broken).mkdir(parents=True)
    (jobs.run_folder(broken) / "a file of somebody else").touch()
    ended = dict(jobs.run_all())
    assert {name for name, why in ended.items() if why is None} == {name for name in ended if works in name}
    assert "holds no training run" in str(ended[f"train/{broken}"])
    failed = {name: why for name, why in ended.items() if why is not None}
    [table] = make_tables(jobs, failed)
    assert [line.ours is None for line in table.lines] == [True, True, False, False]
    assert any(f"train/{broken} failed: " in note for note in table.notes)


def test_what_was_done_on_other_data_is_not_taken_as_done(tmp_path: Path) -> None:
    folder = build_paper_data(tmp_path, "ffpp", "c23")
    jobs = plan("mat/table2/efficientnet-b4-c23", tmp_path / "out", [f"ffpp={folder}"])
    assert all(why is None for _, why in jobs.run_all())
    write_dataset(folder, dataclasses.replace(read_dataset(folder), versions={"torch": "another"}))
    again = plan("mat/table2/efficientnet-b4-c23", tmp_path / "out", [f"ffpp={folder}"])
    assert not any(again.is_done(job) for job in again.all.values())
    [train, _] = again.run_all()
    assert "different settings (dataset_sha256)" in str(train[1])


def test_jobs_for_a_batch_system_do_the_whole(data: list[str], tmp_path: Path) -> None:
    jobs = plan("sia/table6/full", tmp_path, data)
    lines = list(batch_lines(jobs, ["facemill", "reproduce", "sia/table6/full"]))
    assert [line["job"].partition("/")[0] for line in lines] == ["train", "evaluate", "tables"]
    done: set[str] = set()
    for line in lines:
        assert done >= set(line["after"])
        assert line["command"] == f"facemill reproduce sia/table6/full --job {line['job']}"
        if line["job"] != "tables":
            jobs.run(line["job"])
        done.add(line["job"])
    assert [line["job"] for line in batch_lines(jobs, ["facemill"])] == ["tables"]


def test_a_job_whose_inputs_are_not_there_is_refused(data: list[str], tmp_path: Path) -> None:
    jobs = plan("sia/table6/full", tmp_path, data)
    [train, evaluate] = jobs.all
    with pytest.raises(ConfigError, match=f"{evaluate} needs {train}, which is not done"):
        jobs.run(evaluate)
    with pytest.raises(ConfigError, match="There is no job"):
        jobs.run("train/another")


@pytest.mark.long
def test_an_estimate_grows_with_the_work(data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which a start takes a minute and a step a second: the load of the machine does not count."""
    now = 0.0

    def timed(*args: Any, steps: int, **options: Any) -> TrainResult:
        nonlocal now
        now += 60 + steps
        return train(*args, steps=steps, **options)

    monkeypatch.setattr("facemill.pipeline.experiments.estimate.train", timed)
    monkeypatch.setattr("facemill.pipeline.experiments.estimate.time", SimpleNamespace(monotonic=lambda: now))

    def hours(*more: str) -> float:
        lines = list(estimate(plan("mat/table2/efficientnet-b4-c23", tmp_path / "out", data, *more)))
        assert [line.split()[0] for line in lines] == ["train", "evaluate", "together"]
        return float(lines[0].split()[2])

    short, long = hours("train.epochs=20000"), hours("train.epochs=80000")
    assert long / short == pytest.approx(4, rel=0.1)  # of rounded figures
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_from_a_folder_of_videos_to_a_table(tmp_path: Path) -> None:
    """On the demo's corpus: scan and build first, after an estimate from a trial build."""
    corpus = make_corpus(
        tmp_path / "corpus",
        subjects=6,
        frames=8,
        qualities=("c23",),
        methods=("Deepfakes", "FaceSwap"),
        size=(320, 180),
    )
    settings = [*TINY["sia"], *SHORT, "sample.frames=4", "crop.size=96", "shards.samples_per_shard=16"]
    how = {"roots": [f"ffpp={corpus}"], "overrides": settings, "device": "cpu", "executor": "sequential"}
    jobs = prepare(["sia/table1"], tmp_path / "out", **how)
    assert [name.partition("/")[0] for name in jobs.all] == ["build", *["train"] * 3, *["evaluate"] * 3]
    lines = list(estimate(jobs))
    assert [line.split()[0] for line in lines] == ["build", "train", "evaluate", "together"]
    assert not (tmp_path / "out").exists()
    assert [why for _, why in jobs.run_all()] == [None] * 7
    [table] = make_tables(jobs)
    assert {line.figure: line.ours is not None for line in table.lines} == {
        **dict.fromkeys(("FF++ c23 ACC", "FF++ c23 AUC"), True),
        **dict.fromkeys(("FF++ c40 ACC", "FF++ c40 AUC"), False),
    }
    assert any("xception-lq, efficientnet-b4-lq, sia-lq: lacks ffpp c40" in note for note in table.notes)
    assert any("has no Face2Face, NeuralTextures in train" in note for note in table.notes)
    built = [note for note in table.notes if "was built with" in note]
    assert built == []  # the settings are those of all rows, and the notes name them
    assert any("sample.frames=4" in note for note in table.notes)
    [again, *_] = prepare(["sia/table1"], tmp_path / "out", **how).all
    assert again.startswith("train/")  # the dataset is there


# The command ------------------------------------------------------------------------------------------

EPOCHS = "train.epochs=6"


def arguments(out: Path, data: list[str], *more: object) -> list[str]:
    places = [part for one in data for part in ("--data", one)]
    sets = [part for one in (*TINY["mat"], *SHORT, EPOCHS) for part in ("--set", one)]
    command = ["reproduce", "mat/table4", "--out", out, "--device", "cpu", "--workers", 0, *places, *sets, *more]
    return [str(part) for part in command]


@pytest.fixture(scope="module")
def needed(data: list[str]) -> list[str]:
    """The data that the rows of the command need."""
    return [one for one in data if one.endswith("ffpp-c23") or one.startswith("celebdf2=")]


@pytest.mark.long
def test_a_killed_reproduction_goes_on_to_the_same_tables(needed: list[str], tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with start(*arguments(killed, needed)) as process:
        runs = killed / "runs"
        # Killed while the second of the two trainings is under way.
        wait_until(lambda: len(list(runs.glob("*/checkpoints/last.ckpt"))) == 2, process)
        process.send_signal(signal.SIGKILL)
    [finished] = (killed / "done").glob("train/*")
    assert len(list(runs.glob("*/metrics.json"))) == 1
    before = finished.stat().st_mtime_ns
    resumed = facemill(*arguments(killed, needed))
    assert resumed.code == 0, resumed.err
    assert finished.stat().st_mtime_ns == before  # not done again
    straight = plan("mat/table4", whole, needed, EPOCHS)
    assert all(why is None for _, why in straight.run_all())
    write_tables(make_tables(straight), whole / "tables")
    for suffix in ("csv", "md", "tex", "html"):
        assert (killed / "tables" / f"mat.{suffix}").read_bytes() == (whole / "tables" / f"mat.{suffix}").read_bytes()


def test_the_printed_jobs_can_be_run(needed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["facemill", *arguments(tmp_path / "out", needed, "--jobs")]
    monkeypatch.setattr("sys.argv", command)
    lines = [json.loads(line) for line in CliRunner().invoke(app, command[1:]).output.splitlines()]
    assert [line["job"].partition("/")[0] for line in lines].count("train") == 2
    assert not (tmp_path / "out").exists()
    program, *printed = shlex.split(lines[0]["command"])
    assert program == "facemill"
    assert "--jobs" not in printed
    ran = CliRunner().invoke(app, printed)
    assert ran.output.splitlines()[-1] == f"{lines[0]['job']}: done"
    assert [path.stem for path in (tmp_path / "out" / "done").rglob("*.json")] == [lines[0]["job"].partition("/")[2]]


def test_a_folder_of_somebody_else_is_left_alone(needed: list[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    refused = CliRunner().invoke(app, arguments(tmp_path, needed))
    assert "contains files that this command did not write" in str(refused.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.long
def test_a_method_that_is_left_out_is_tested_alone(data: list[str], tmp_path: Path) -> None:
    settings = [*TINY["lrl"], *SHORT]
    jobs = prepare(["lrl/table4/full"], tmp_path, data=data, overrides=settings, device="cpu", unseen=True)
    assert [name.partition("/")[0] for name in jobs.all] == ["train"] * 4 + ["evaluate"] * 4
    [row] = [one for one in jobs.plan.experiments if one.left_out == "FaceSwap"]
    [training] = jobs.plan.runs[row.name]
    names = [name for name in jobs.all if training in name]
    for name in names:
        jobs.run(name)
    used = read_trained_on(jobs.run_folder(training))
    assert used is not None
    assert set(used["method"].to_pylist()) == {"real", "Deepfakes", "Face2Face", "NeuralTextures"}
    [table] = make_tables(jobs)
    measured = {line.figure for line in table.lines if line.ours is not None}
    assert measured == {"FF++ c40 FaceSwap AUC", "FF++ c40 FaceSwap video AUC"}
    assert {(line.paper, line.difference, line.deviates) for line in table.lines} == {(None, None, False)}
    write_tables([table], tmp_path / "tables")
    assert "full-without-FaceSwap,FF++ c40 FaceSwap AUC,," in (tmp_path / "tables" / "lrl.csv").read_text()
