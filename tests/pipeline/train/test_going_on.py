"""Runs that are extended, and runs that start from another run's weights."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from facemill import ConfigError
from facemill.pipeline.runs.folder import read_config
from facemill.pipeline.train import train
from facemill.pipeline.train.epoch_log import EpochLog
from facemill.pipeline.train.loop import TrainingLoop
from tests.pipeline.train.tiny import Tiny, killed_in_epoch, recipe, use
from tests.pipeline.trained import SMALL

SCHEDULES = {
    "constant": ("train.schedule.name=constant",),
    "step": ("train.schedule.name=step", "train.schedule.every=1"),
    "warm-up": ("train.schedule.warmup=3",),
}
COSINE = ("train.schedule.name=cosine",)


def rates(run: Path) -> list[float]:
    names, *rows = (run / "log.csv").read_text().splitlines()
    column = names.split(",").index("learning_rate")
    return [float(row.split(",")[column]) for row in rows]


@pytest.mark.heavy
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_extended_run_equals_one_that_was_longer_from_the_start(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, longer = use(monkeypatch, Tiny), ("train.epochs=4", *SCHEDULES[schedule])
    train(name, [toy], tmp_path / "long", recipe(*longer), progress=False)
    train(name, [toy], tmp_path / "run", recipe(*SCHEDULES[schedule]), progress=False)
    capsys.readouterr()
    result = train(name, [toy], tmp_path / "run", recipe(*longer), resume=True, progress=False)
    assert "is extended from 2 to 4 epochs: weights, optimiser state and log.csv stay;" in capsys.readouterr().err
    assert result.epochs == 4
    for file in ("log.csv", "metrics.json", "model.safetensors", "config.json"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "long" / file).read_bytes()


def test_a_cosine_of_more_epochs_goes_on_at_its_own_rate(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = use(monkeypatch, Tiny)
    train(name, [toy], tmp_path, recipe(*COSINE, "train.optimizer.lr=1"), progress=False)
    train(name, [toy], tmp_path, recipe(*COSINE, "train.optimizer.lr=1", "train.epochs=4"), resume=True)
    assert rates(tmp_path) == pytest.approx([1, 0.5, 0.5, 0.5 - 0.5**1.5])
    assert "follows a cosine of 4 epochs, not 2." in capsys.readouterr().err


@pytest.mark.heavy
def test_an_extension_that_was_killed_goes_on(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, run = use(monkeypatch, Tiny), tmp_path / "run"
    train(name, [toy], tmp_path / "long", recipe("train.epochs=4"), progress=False)
    train(name, [toy], run, recipe(), progress=False)
    with killed_in_epoch(4):
        train(name, [toy], run, recipe("train.epochs=4"), resume=True, progress=False)
    train(name, [toy], run, recipe("train.epochs=4"), resume=True, progress=False)
    for file in ("log.csv", "metrics.json", "model.safetensors"):
        assert (run / file).read_bytes() == (tmp_path / "long" / file).read_bytes()


def test_a_run_of_an_earlier_version_goes_on(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not recorded the recipe of its data."""
    name = use(monkeypatch, Tiny)
    train(name, [toy], tmp_path, recipe(), progress=False)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("recipe")["name"] == "toy"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert train(name, [toy], tmp_path, recipe("train.epochs=3"), resume=True, progress=False).epochs == 3
    assert read_config(tmp_path).recipe is None


def test_a_run_is_not_shortened(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = use(monkeypatch, Tiny)
    train(name, [toy], tmp_path, recipe(), progress=False)
    with pytest.raises(ConfigError, match=r"different settings \(train\)"):
        train(name, [toy], tmp_path, recipe("train.epochs=1"), resume=True, progress=False)
    with pytest.raises(ConfigError, match=r"different settings \(train\)"):
        train(name, [toy], tmp_path, recipe("train.epochs=3", "train.batch=6"), resume=True, progress=False)


def first_weights(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
    """The weights of a run before its first step."""
    seen: dict[str, torch.Tensor] = {}
    run = TrainingLoop.run

    def kept(self: TrainingLoop, log: EpochLog) -> None:
        seen.update({key: value.clone() for key, value in self._module.detector.state_dict().items()})
        run(self, log)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "run", kept)
        train(*args, progress=False, **options)
    return seen


def test_a_run_may_start_from_another_one_s_weights(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, first = use(monkeypatch, Tiny), tmp_path / "first"
    train(name, [toy], first, recipe("seed=3"), progress=False)
    capsys.readouterr()
    weights = first_weights(monkeypatch, name, [toy], tmp_path / "second", recipe(), init_from=first)
    assert f"Weights start from those of {first}; optimiser, learning rate and epochs" in capsys.readouterr().err
    released = load_file(first / "model.safetensors")
    assert weights.keys() == released.keys()
    assert all(torch.equal(weights[key], value) for key, value in released.items())
    assert read_config(tmp_path / "second").init_from == str(first)
    shutil.rmtree(first)  # a finished run needs it no more
    assert train(name, [toy], tmp_path / "second", recipe(), resume=True).epochs == 2


def test_a_run_killed_before_its_first_epoch_ended_starts_from_those_weights_again(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, first, second = use(monkeypatch, Tiny), tmp_path / "first", tmp_path / "second"
    train(name, [toy], first, recipe("seed=3"), progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "run", lambda self, log: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            train(name, [toy], second, recipe(), init_from=first, progress=False)
    weights = first_weights(monkeypatch, name, [toy], second, recipe(), resume=True)
    assert torch.equal(weights["head.weight"], load_file(first / "model.safetensors")["head.weight"])


def test_another_network_s_weights_are_refused(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, first, out = use(monkeypatch, Tiny), tmp_path / "first", tmp_path / "second"
    train(name, [toy], first, recipe(), progress=False)
    with pytest.raises(ConfigError, match=r"No layer of the run in .* fits resnet18: start from another run"):
        train("resnet18", [toy], out, recipe(), init_from=first)
    with pytest.raises(ConfigError, match="holds no training run"):
        train(name, [toy], out, recipe(), init_from=tmp_path)
    (first / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="has not finished"):
        train(name, [toy], out, recipe(), init_from=first)
    assert not out.exists()


@pytest.mark.heavy
def test_mat_starts_from_a_plain_network_that_was_trained_before(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    train("efficientnet_b4", [toy], first, recipe(*SMALL), progress=False)
    capsys.readouterr()
    weights = first_weights(monkeypatch, "mat", [toy], tmp_path / "second", recipe(*SMALL), init_from=first)
    said = capsys.readouterr().err
    assert f"tensors start from those of {first}; not in it, or of another shape: attention.0" in said
    assert "not used of it: classifier.bias, classifier.weight. Optimiser, learning rate and epochs" in said
    released = {key: value for key, value in load_file(first / "model.safetensors").items() if "backbone" in key}
    assert len(released) > 100
    assert all(torch.equal(weights[key], value) for key, value in released.items())


def test_other_initial_weights_are_another_run(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = use(monkeypatch, Tiny)
    train(name, [toy], tmp_path / "first", recipe(), progress=False)
    train(name, [toy], tmp_path / "second", recipe(), progress=False)
    with pytest.raises(ConfigError, match=r"different settings \(init_sha256\)"):
        train(name, [toy], tmp_path / "second", recipe(), init_from=tmp_path / "first", resume=True)
    assert json.loads((tmp_path / "second" / "config.json").read_text())["init_from"] is None


@pytest.mark.parametrize(("damaged", "pipe"), [("best.ckpt", False), ("best.ckpt", True), ("last.ckpt", False)])
def test_a_damaged_checkpoint_ends_a_resumed_run_before_any_work(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str, pipe: bool
) -> None:
    name = use(monkeypatch, Tiny)
    train(name, [toy], tmp_path, recipe(), progress=False)
    path = tmp_path / "checkpoints" / damaged
    path.unlink()
    os.mkfifo(path) if pipe else path.write_bytes(b"half a checkpoint")
    before = (tmp_path / "log.csv").read_bytes()
    with pytest.raises(ConfigError, match=rf"{damaged} is damaged .*: train again in another folder"):
        train(name, [toy], tmp_path, recipe("train.epochs=4"), resume=True, progress=False)
    assert (tmp_path / "log.csv").read_bytes() == before


@pytest.mark.parametrize("checkpoint", ["best.ckpt", "last.ckpt"])
def test_a_checkpoint_that_does_not_fit_is_told_before_any_work(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str
) -> None:
    """As of a network whose code has changed since, or of another file of the name."""
    name, path = use(monkeypatch, Tiny), tmp_path / "checkpoints" / checkpoint
    train(name, [toy], tmp_path, recipe(), progress=False)
    whole, before = path.read_bytes(), (tmp_path / "log.csv").read_bytes()
    first = next(iter(torch.load(path, weights_only=True)["state_dict"]))
    changes: list[tuple[str, Any]] = [("epoch", 7), ("epoch", "x"), ("rows", [[]]), ("state_dict", {})]
    changes += [("state_dict", {first: value}) for value in ("x", torch.ones(1, 1, 1))]
    if checkpoint == "last.ckpt":
        changes += [("optimizer", {"state": {}}), ("schedule", []), ("optimizer", "x")]
    for part, value in changes:
        content = torch.load(path, weights_only=True)
        content[part] = {**content[part], **value} if part == "state_dict" and value else value
        torch.save(content, path)
        with pytest.raises(ConfigError, match=rf"{checkpoint} is damaged .*: train again in another folder"):
            train(name, [toy], tmp_path, recipe("train.epochs=4"), resume=True, progress=False)
        path.write_bytes(whole)
    assert (tmp_path / "log.csv").read_bytes() == before
