"""`train --seeds`, `evaluate`, `compare` and `metrics` on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from facemill import ConfigError
from facemill.pipeline.commands.cli import app
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.runs.folder import seed_runs
from tests.pipeline.trained import SMALL

RUNNER = CliRunner()


def call(*args: object) -> Result:
    return RUNNER.invoke(app, list(map(str, args)))


def passed(*args: object) -> str:
    ended = call(*args)
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.fixture(scope="module")
def seeds(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seeds") / "runs"
    sets = [word for value in (*SMALL, "train.epochs=1") for word in ("--set", value)]
    shown = passed("train", "mat", toy, "--out", out, *sets, "--recipe", "default", "--device", "cpu", "--workers", 0,
                   "--seeds", "3,11", "--quiet")  # fmt: skip
    assert shown.count("best of 1 epochs") == 2
    return out


def test_each_seed_has_a_run_of_its_own(seeds: Path) -> None:
    runs = seed_runs(seeds)
    assert [run.name for run in runs] == ["seed-3", "seed-11"]
    assert [json.loads((run / "config.json").read_text())["seed"] for run in runs] == [3, 11]
    weights = [(run / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] != weights[1]
    assert seed_runs(runs[0]) == []


def test_an_evaluation_of_seeds_has_the_mean_and_spread_of_each_seed_s(seeds: Path, toy: Path, tmp_path: Path) -> None:
    shown = passed("evaluate", seeds, toy, "--out", tmp_path / "all", "--device", "cpu", "--workers", 0)
    assert "± over seeds" in shown
    assert "not scored" in shown
    found = json.loads((tmp_path / "all/metrics.json").read_text())
    alone = [evaluate(run, toy, tmp_path / run.name, device="cpu") for run in seed_runs(seeds)]
    for unit in ("frame", "video"):
        for name in ("auc", "brier", "log_loss"):
            values = [one.metrics[unit]["overall"][name] for one in alone]
            assert found[unit]["overall"][name] == pytest.approx(np.mean(values))
            assert found[unit]["overall"]["spread"][name] == pytest.approx(np.std(values, ddof=1))
    for one in alone:
        assert (tmp_path / "all" / one.out.name / "scores.parquet").read_bytes() == (
            one.out / "scores.parquet"
        ).read_bytes()
    shown = passed("compare", *(one.out for one in alone))
    assert "frame AUC" in shown.replace("\n", " ")
    assert "12 crops" in shown
    content = json.loads(passed("compare", *(one.out for one in alone), "--json"))
    assert content["rows"]


def test_runs_that_differ_otherwise_are_no_seeds_of_one(seeds: Path, tmp_path: Path) -> None:
    for number, epochs in enumerate((1, 2)):
        config = json.loads((seeds / "seed-3/config.json").read_text())
        config["train"]["epochs"] = epochs
        (tmp_path / f"seed-{number}").mkdir()
        (tmp_path / f"seed-{number}/config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="differ by more than their seed"):
        seed_runs(tmp_path)


TRAIN = ("--recipe", "default", "--device", "cpu")


@pytest.mark.parametrize("words", ["0,0", "a", "1,", "-1"])
def test_seeds_are_different_whole_numbers(toy: Path, tmp_path: Path, words: str) -> None:
    ended = call("train", "mat", toy, "--out", tmp_path / "new", *TRAIN, "--seeds", words)
    assert isinstance(ended.exception, ConfigError)
    assert not (tmp_path / "new").exists()


def test_seeds_train_on_one_device(toy: Path, tmp_path: Path) -> None:
    ended = call("train", "mat", toy, "--out", tmp_path / "new", *TRAIN, "--seeds", "0,1", "--devices", 2)
    assert isinstance(ended.exception, ConfigError)
    assert "--set seed=0 --out" in str(ended.exception)


def test_metrics_prints_tables_and_gaps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["video,label,score,sex"]
    lines += [f"v{n},{n % 2},{random.random():.3f},{'fm'[n // 2 % 2]}" for n in range(40)]
    (tmp_path / "s.csv").write_text("\n".join(lines))
    shown = passed("metrics", tmp_path / "s.csv", "--out", tmp_path / "out", "--attributes", "sex")
    for text in ("fakes of", "95 % low", "By sex, and the gap to all others", "f (frames)", "m (videos)"):
        assert text in shown
    content = json.loads(call("metrics", tmp_path / "s.csv", "--out", tmp_path / "out", "--overwrite", "--json").stdout)
    assert content["attributes"] == []
    ended = call("metrics", tmp_path / "s.csv", "--out", tmp_path / "out")
    assert "--overwrite" in str(ended.exception)
