"""Training on reals and forgeries made of them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from facemill import ConfigError, DatasetError
from facemill.detectors.forgery import Classification, ForgeryBatch, LossTerms, create, options_of
from facemill.manifests.shards import EncodedSample
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import TrainingData
from facemill.pipeline.train import train
from facemill.pipeline.train.module import ForgeryModule
from facemill.registry import FORGERY_DETECTORS, OBJECTIVES
from tests.detectors.forgery.test_contract import SMALL
from tests.pipeline.data.built import build, samples_of, video
from tests.pipeline.train.tiny import Tiny, recipe, use

KINDS = ("sbi", "xray")


@pytest.mark.parametrize("name", [name for name in FORGERY_DETECTORS if not options_of(name).sampling])
def test_every_detector_trains_on_them(name: str, toy: Path) -> None:
    torch.manual_seed(0)
    forgeries: Any = KINDS[len(name) % 2]
    settings = TrainSettings(batch=4, forgeries=forgeries)
    module = ForgeryModule(create(name, **SMALL[name]), settings, seed=0).train()
    data = TrainingData([toy], settings, fields=module.objective.fields)
    raw = next(iter(data.train_loader))
    loss, terms = module(lambda: raw, 0, 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad is not None for weight in module.parameters() if weight.requires_grad)
    if "mask" in module.objective.fields:  # known for all of them
        assert min(float(terms[term].detach()) for term in terms.keys() & {"mask", "first_order"}) > 0


def test_a_run_reads_no_fake_and_says_so(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = recipe("train.batch=4", "train.forgeries=sbi", "train.augment.jpeg=0.5")
    result = train(use(monkeypatch, Tiny), [toy], tmp_path / "run", settings, progress=False)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["forgeries"] == "sbi"
    assert "forgeries" in (tmp_path / "run" / "README.md").read_text()
    used = pq.read_table(tmp_path / "run" / "trained_on.parquet").to_pylist()
    assert {row["method"] for row in used if row["split"] == "train"} == {"real"}
    assert {row["method"] for row in used if row["split"] == "val"} == {"real", "swap"}
    again = train("tiny", [toy], tmp_path / "again", settings, progress=False)
    other = recipe("train.batch=4", "train.forgeries=xray", "train.augment.jpeg=0.5")
    different = train("tiny", [toy], tmp_path / "other", other, progress=False)
    assert again.metrics == result.metrics
    assert different.metrics["train_loss"] != result.metrics["train_loss"]


def test_a_dataset_without_fakes_to_train_on_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [video("a", 0), video("b", 0), video("c", 0, "val"), video("d", 1, "val")]
    root = build(tmp_path / "data", samples_of(entries))
    settings = ("train.batch=4", "train.epochs=1")
    with pytest.raises(DatasetError, match=r"Split train of .* has 12 reals and 0 fakes"):
        train(use(monkeypatch, Tiny), [root], tmp_path / "run", recipe(*settings), progress=False)
    train("tiny", [root], tmp_path / "run", recipe(*settings, "train.forgeries=xray"), progress=False)


class Boundary(Classification):
    """Looks at the X-rays that it gets."""

    @property
    def fields(self) -> tuple[str, ...]:
        return ("xray",)

    def forward(self, output: Any, batch: ForgeryBatch, step: Any) -> LossTerms:
        terms = super().forward(output, batch, step)
        xray = batch["xray"]
        assert xray.shape == (batch.size, 1, 16, 16)
        assert (xray.amax((1, 2, 3)) > 0.3).tolist() == (batch.labels > 0.5).tolist()
        return LossTerms(terms.total, {**terms.terms, "boundary": xray.mean()})


def test_an_objective_gets_the_x_ray_by_its_name(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES._found, "boundary", Boundary)
    settings = ("train.batch=8", "train.epochs=1", "train.objective.name=boundary")
    name = use(monkeypatch, Tiny)
    result = train(name, [toy], tmp_path / "run", recipe(*settings, "train.forgeries=sbi"), progress=False)
    assert 0.01 < result.metrics["train_boundary"] < 0.5
    with pytest.raises(DatasetError, match="no field 'xray' to load"):
        train(name, [toy], tmp_path / "other", recipe(*settings), progress=False)


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("train.batch_by=pair", "batch_by"),
        ("train.batch_by=video", "batch_by"),
        ("train.methods=[swap]", "methods"),
        ("train.without=[swap]", "without"),
        ("train.overfit=4", "overfit"),
        ("train.shuffle_labels=true", "shuffle_labels"),
    ],
)
def test_what_would_need_fakes_of_the_dataset_is_refused(setting: str, name: str) -> None:
    load_recipe("default", [setting])
    expected = f"'forgeries: sbi' trains on no fake of the dataset, so leave out '{name}'"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_recipe("default", [setting, "train.forgeries=sbi"])


def test_a_batch_that_cannot_be_halved_is_refused(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, settings = use(monkeypatch, Tiny), recipe("train.batch=5", "train.forgeries=sbi")
    with pytest.raises(ConfigError, match=r"train\.batch=5 is no multiple of 2, .*choose such a multiple"):
        train(name, [toy], tmp_path / "run", settings, progress=False)
    assert not (tmp_path / "run").exists()


def without_landmarks(sample: EncodedSample) -> EncodedSample:
    return replace(sample, record=replace(sample.record, landmarks=(0.0,) * 10))


@pytest.mark.parametrize("forgeries", KINDS)
def test_reals_without_landmarks_are_refused_and_fakes_are_not(
    forgeries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [video("a", 0), video("b", 0), video("e", 1), video("c", 0, "val"), video("d", 1, "val")]
    name, settings = use(monkeypatch, Tiny), recipe("train.batch=4", f"train.forgeries={forgeries}", "train.epochs=1")
    for lacking in ("e", "b"):
        samples = [without_landmarks(s) if s.record.video_id == lacking else s for s in samples_of(entries)]
        root = build(tmp_path / lacking, samples)
        if lacking == "e":
            train(name, [root], tmp_path / "run", settings, progress=False)
            continue
        with pytest.raises(DatasetError, match="6 real crops have no landmarks, frame 0 of video b of toy first"):
            train(name, [root], tmp_path / "refused", settings, progress=False)
    assert not (tmp_path / "refused").exists()
