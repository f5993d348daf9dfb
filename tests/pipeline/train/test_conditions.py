"""What a run ran on is recorded; a resume on something else says so."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from facemill import ConfigError
from facemill.pipeline.train import train
from facemill.pipeline.train.conditions import Conditions, record_conditions
from tests.pipeline.data.built import build, default_samples
from tests.pipeline.train.tiny import Tiny, killed_in_epoch, recipe, use

HERE: dict[str, Any] = {
    **{"device": "cpu", "precision": "float32", "nodes": 1, "ranks": 1, "threads": 1},
    **{"norms": "per rank", "compiled": False, "torch": "2.9"},
}


def parts(run: Path) -> list[dict[str, Any]]:
    return list(json.loads((run / "conditions.json").read_text())["parts"])


@pytest.fixture
def killed_after_one(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a run that is killed in its second epoch."""

    def start(data: Path, out: Path, **options: Any) -> str:
        name = use(monkeypatch, Tiny)
        with killed_in_epoch(2):
            train(name, [data], out, recipe(), progress=False, device="cpu", **options)
        return name

    return start


def test_a_run_says_what_it_ran_on(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = recipe("train.precision=bf16", "train.epochs=1")
    train(use(monkeypatch, Tiny), [toy], tmp_path, settings, progress=False, device="cpu")
    here = {"precision": "bf16", "threads": torch.get_num_threads(), "torch": torch.__version__}
    assert parts(tmp_path) == [{"first_epoch": 0, **HERE, **here}]


def test_a_resume_under_other_conditions_is_noted_and_recorded(
    toy: Path, tmp_path: Path, killed_after_one: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    name = killed_after_one(toy, tmp_path)
    now = torch.get_num_threads()
    torch.set_num_threads(now + 1)
    try:
        train(name, [toy], tmp_path, recipe(), resume=True, progress=False, device="cpu")
    finally:
        torch.set_num_threads(now)
    assert f"goes on with threads {now + 1} instead of {now}: it will not equal" in capsys.readouterr().err
    assert [(part["first_epoch"], part["threads"]) for part in parts(tmp_path)] == [(0, now), (1, now + 1)]


@pytest.mark.parametrize("shard_format", ["parquet", "webdataset"])
def test_a_resume_with_other_workers_equals_an_uninterrupted_run(
    tmp_path: Path, killed_after_one: Any, capsys: pytest.CaptureFixture[str], shard_format: str
) -> None:
    data = build(tmp_path / "data", default_samples(), shard_format)
    name = killed_after_one(data, tmp_path / "run")
    train(name, [data], tmp_path / "run", recipe(), resume=True, workers=1, progress=False, device="cpu")
    train(name, [data], tmp_path / "whole", recipe(), workers=0, progress=False, device="cpu")
    assert "goes on with" not in capsys.readouterr().err
    for file in ("log.csv", "model.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_only_parts_that_ended_an_epoch_are_kept(tmp_path: Path) -> None:
    other, third = {"torch": "3.0"}, {"torch": "3.1"}
    assert record_conditions(tmp_path, Conditions(**HERE), first_epoch=0) is None
    assert record_conditions(tmp_path, Conditions(**HERE), first_epoch=2) is None
    assert record_conditions(tmp_path, Conditions(**{**HERE, **other}), first_epoch=3) is not None
    note = record_conditions(tmp_path, Conditions(**{**HERE, **third}), first_epoch=3)
    assert "torch 3.1 instead of 2.9" in str(note)
    assert [(part["first_epoch"], part["torch"]) for part in parts(tmp_path)] == [(0, "2.9"), (3, "3.1")]


def test_a_damaged_record_is_one_sentence(tmp_path: Path) -> None:
    for content in ("hello", "[]", "{}", '{"parts": [1]}', '{"parts": [{"first_epoch": 0}]}'):
        (tmp_path / "conditions.json").write_text(content)
        with pytest.raises(ConfigError, match=r"conditions\.json is damaged"):
            record_conditions(tmp_path, Conditions(**HERE), first_epoch=0)
