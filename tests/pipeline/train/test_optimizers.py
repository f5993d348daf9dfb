"""Optimisers by name, groups of weights, and schedules."""

from typing import Any

import pytest
import timm.optim
import torch

from facemill import ConfigError
from facemill.detectors.forgery import create
from facemill.pipeline.config.train_settings import OptimizerSettings, ScheduleSettings
from facemill.pipeline.train.optimizers import create_optimizer, create_schedule
from tests.detectors.forgery.test_contract import SMALL
from tests.pipeline.train.tiny import Tiny, TinyOptions


def made(detector: Any = None, **settings: Any) -> torch.optim.Optimizer:
    return create_optimizer(detector or Tiny(TinyOptions()), OptimizerSettings(**settings))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)),
        *(("rmsprop", torch.optim.RMSprop), ("asgd", torch.optim.ASGD), ("rprop", torch.optim.Rprop)),
        *(("lion", timm.optim.Lion), ("lamb", timm.optim.Lamb), ("adafactor", timm.optim.Adafactor)),
    ],
)
def test_an_optimiser_is_found_by_name_and_moves_weights(name: str, kind: type) -> None:
    torch.manual_seed(0)
    detector = Tiny(TinyOptions())
    optimizer = made(detector, name=name, lr=0.01)
    assert isinstance(optimizer, kind)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01]
    before = detector.conv.weight.detach().clone()
    for _ in range(2):
        detector(torch.rand(2, 3, 16, 16)).logit.sum().backward()
        optimizer.step()
    assert not torch.equal(before, detector.conv.weight)


def test_options_reach_the_optimiser_and_unnamed_values_are_its_own() -> None:
    assert made(name="sgd", options={"nesterov": True}).defaults["nesterov"] is True
    assert made(name="sgd").defaults["nesterov"] is False
    assert made(name="adam", options={"amsgrad": True}).defaults["amsgrad"] is True
    assert made(name="lion").defaults["betas"] == (0.9, 0.99)
    assert made(name="lion", betas=(0.8, 0.9)).defaults["betas"] == (0.8, 0.9)
    assert made(name="rmsprop", betas=(0.8, 0.9)).defaults["momentum"] == 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adm"}, r"^Neither PyTorch nor timm has an optimiser 'adm' \(did you mean 'adam'\?\)"),
        ({"name": "lbfgs"}, "has an optimiser 'lbfgs'"),
        ({"name": "adahessian"}, "has an optimiser 'adahessian'"),
        ({"name": "adam", "options": {"speed": 3}}, "optimiser adam cannot be made from train.optimizer: .*'speed'"),
        ({"name": "lion", "options": {"speed": 3}}, "optimiser lion cannot be made"),
        ({"layer_decay": 0.5}, "not in numbered stages, blocks or layers"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**settings)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lamb"])
def test_norms_and_biases_may_be_left_undecayed(name: str) -> None:
    detector = Tiny(TinyOptions())
    groups = made(detector, name=name, weight_decay=0.3, no_decay=True).param_groups
    decay = {id(weight): group["weight_decay"] for group in groups for weight in group["params"]}
    assert {key: decay[id(weight)] for key, weight in detector.named_parameters()} == {
        **{"conv.weight": 0.3, "conv.bias": 0.0, "norm.weight": 0.0},
        **{"norm.bias": 0.0, "head.weight": 0.3, "head.bias": 0.0},
    }


@pytest.mark.parametrize("name", ["mat", "lrl", "sia", "etd", "sola", "resnet18"])
def test_rates_fall_from_stage_to_stage_towards_the_input(name: str) -> None:
    detector = create(name, **SMALL[name])
    groups = made(detector, lr=1.0, layer_decay=0.5).param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert len(rates) == sum(weight.requires_grad for weight in detector.parameters())
    stages: dict[int, set[float]] = {}
    for key, weight in detector.named_parameters():
        if weight.requires_grad and "stages." not in key:
            assert rates[id(weight)] == 1.0, key
        elif weight.requires_grad:
            stages.setdefault(int(key.split("stages.")[1].split(".")[0]), set()).add(rates[id(weight)])
    last = max(stages)
    assert {stage: {0.5 ** (last + 1 - stage)} for stage in stages} == stages


def rates(epochs: int, **settings: Any) -> list[float]:
    optimizer = made(lr=1.0)
    schedule = create_schedule(optimizer, ScheduleSettings(**settings), epochs)
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_schedules_set_the_rate_of_each_epoch() -> None:
    assert rates(3, name="constant") == [1.0, 1.0, 1.0]
    assert rates(5, name="step", every=2, gamma=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rates(4, name="cosine") == pytest.approx([1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert rates(4, name="cosine", warmup=2, final=0.2) == pytest.approx([1 / 3, 2 / 3, 1, 0.6])
    assert rates(4, name="constant", warmup=1) == pytest.approx([0.5, 1, 1, 1])
    assert rates(4, name="step", every=2, gamma=0.1, warmup=1) == pytest.approx([0.5, 1, 0.1, 0.1])
