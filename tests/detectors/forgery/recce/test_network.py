"""RECCE as a whole: where its parts stand, its noise, and its switches."""

from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import Tensor

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch, create_objective
from facemill.detectors.forgery.recce.network import RECCE, RECCEOptions
from tests.detectors.forgery.losses import loss_of

ABLATION: dict[str, dict[str, Any]] = {
    "plain": {"reconstruction_weight": 0, "metric_weight": 0, "reasoning": False, "attention": False},
    "losses": {"reasoning": False, "attention": False},
    "reasoning": {"attention": False},
    "attention": {"reasoning": False},
    "whole": {},
}


def on_meta(**options: Any) -> RECCE:
    with torch.device("meta"):
        return RECCE(RECCEOptions(**options)).eval()


def small(**options: Any) -> RECCE:
    torch.manual_seed(0)
    return RECCE(RECCEOptions(**{"backbone": "tinynet_e", "size": 64, "stages": (4, 5, 6), **options}))


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_parts_stand_after_blocks_4_7_and_8() -> None:
    detector = on_meta()
    order: list[str] = []
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str, inputs: Any) -> None:
        order.append(name)
        flat = [x for one in inputs for x in (one if isinstance(one, list) else [one])]
        shapes[name] = [tuple(x.shape[1:]) for x in flat]

    parts = {"decoder": detector.decoder, "reasoning": detector.reasoning, "attention": detector.attention}
    named = {**parts, **{str(index): stage for index, stage in enumerate(detector.backbone.stages)}}
    for name, part in named.items():
        part.register_forward_pre_hook(lambda _m, x, name=name: note(name, x))
    output = detector(torch.empty(2, 3, 299, 299, device="meta"))
    before = ["0", "1", "2", "3", "4", "decoder", "5", "6", "7", "reasoning", "8", "attention", "9"]
    assert order == [*before, "10", "11", "12", "13"]
    assert shapes["decoder"] == [(728, 19, 19)]
    assert shapes["reasoning"] == [(728, 19, 19), (256, 38, 38), (128, 76, 76)]
    assert shapes["attention"] == [(3, 299, 299), (728, 19, 19)]
    assert [features.shape for features in output.features] == [(2, 728), (2, 256), (2, 128)]


def test_its_weights_are_those_of_xception_and_of_the_release_s_parts() -> None:
    with torch.device("meta"):
        whole = sum(
            w.numel() for name, w in timm.create_model("legacy_xception").named_parameters() if "fc" not in name
        )
    detector = on_meta()
    embeddings = (728 + 256 + 256 + 256 + 128 + 256) * 256
    reasoning = embeddings + 2 * 728 * 256 + 2 * 512 + (768 + 728) * 728
    attention = 3 * 27 + 3 + 728 * 728 + 2 * 728
    decoder = sum(weight.numel() for weight in detector.decoder.parameters())
    expected = whole + reasoning + attention + decoder + 2048 + 1
    assert sum(weight.numel() for weight in detector.parameters()) == expected


def test_reasoning_is_added_and_attention_goes_on() -> None:
    detector = small().eval()
    seen: dict[str, Any] = {}
    detector.backbone.stages[5].register_forward_hook(lambda _m, _x, y: seen.update(reasoned=y))
    detector.reasoning.register_forward_hook(lambda _m, _x, y: seen.update(reasoning=y))
    detector.attention.register_forward_hook(lambda _m, _x, y: seen.update(attended=y[0]))
    for index in (6, 7):
        detector.backbone.stages[index].register_forward_pre_hook(lambda _m, x, at=index: seen.update({at: x[0]}))
    with torch.no_grad():
        detector(images())
    torch.testing.assert_close(seen[6], seen["reasoned"] + seen["reasoning"])
    assert torch.equal(seen[7], seen["attended"])


@pytest.mark.parametrize("values", [((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_the_difference_is_that_of_the_image_in_minus_one_to_one(values: Any) -> None:
    detector = small(mean=values[0], std=values[1]).eval()
    decoded: list[Tensor] = []
    detector.decoder.register_forward_hook(lambda _m, _x, y: decoded.append(y[2]))
    crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        difference = detector(detector.input_spec.normalise(crops)).difference
    assert decoded[0].shape == (2, 3, 32, 32)
    resized = torch.nn.functional.interpolate(decoded[0], (64, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(difference, (2 * crops - 1 - resized).abs(), atol=1e-5, rtol=0)


def test_half_of_the_training_images_get_noise_of_which_the_difference_knows_nothing() -> None:
    detector = small(noise=0.1).train()
    inputs: list[Tensor] = []
    decoded: list[Tensor] = []
    detector.backbone.stages[0].register_forward_pre_hook(lambda _m, x: inputs.append(x[0]))
    detector.decoder.register_forward_hook(lambda _m, _x, y: decoded.append(y[2]))
    x = detector.input_spec.normalise(torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    with torch.no_grad():
        difference = detector(x).difference
    clean = 2 * detector.input_spec.restore(x) - 1
    noisy = 2 * detector.input_spec.restore(inputs[0]) - 1
    deviations = (noisy - clean).flatten(1).std(1)
    changed = deviations > 1e-4
    assert 10 < changed.sum() < 30
    assert (deviations[~changed] < 1e-6).all()
    assert ((deviations[changed] > 0.085) & (deviations[changed] < 0.1)).all()  # less than 0.1, being cut off
    assert noisy.abs().max() <= 1 + 1e-6
    resized = torch.nn.functional.interpolate(decoded[0], (64, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(difference, (clean - resized).abs(), atol=1e-5, rtol=0)
    detector.eval()(x[:2])
    assert torch.equal(inputs[1], x[:2])


@pytest.mark.parametrize("row", ABLATION)
def test_every_row_of_the_ablation_learns(row: str) -> None:
    detector = small(**ABLATION[row]).train()
    batch = ForgeryBatch(image=images(3), label=torch.tensor([0.0, 0, 1]))
    loss_of(detector, batch).total.backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in detector.parameters())
    assert (detector.reasoning is not None) == (row in ("reasoning", "whole"))
    assert any((weight.grad != 0).any() for weight in detector.decoder.parameters()) == (row != "plain")
    with torch.no_grad():
        maps = detector.eval().explain(images())
    assert list(maps) == (["difference", "attention"] if row in ("attention", "whole") else ["difference"])


def test_maps_show_the_error_and_where_attention_is() -> None:
    detector = small().eval()
    with torch.no_grad():
        output, maps = detector(images()), detector.explain(images())
    torch.testing.assert_close(maps["difference"], output.difference.mean(1))
    assert torch.equal(maps["attention"], output.attention[:, 0])
    assert maps["difference"].shape == (2, 64, 64)
    assert ((maps["attention"] > 0) & (maps["attention"] < 1)).all()


def test_stages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="in that order"):
        RECCEOptions(stages=(7, 4, 8))
    with pytest.raises(ConfigError, match="no stage 40: its last one is 8"):
        small(stages=(4, 5, 40))
    with pytest.raises(ConfigError, match="strides of stages 3 and 5 differ, 8 and 16"):
        small(stages=(3, 5, 6))


@pytest.mark.parametrize("name", ABLATION)
@pytest.mark.parametrize("objective", ["paper", "classification"])
def test_every_weight_gets_a_gradient_or_the_objective_is_refused(name: str, objective: str) -> None:
    """A weight without one is an error under distributed training."""
    detector = small(**ABLATION[name]).train()
    if objective == "classification" and detector.attention is None:
        with pytest.raises(ConfigError, match="does not train RECCE's decoder: use"):
            create_objective(detector, objective)
        return
    batch = ForgeryBatch(image=images(4), label=torch.tensor([0.0, 1.0, 0.0, 1.0]))
    loss_of(detector, batch, objective=create_objective(detector, objective)).total.backward()
    assert [key for key, weight in detector.named_parameters() if weight.grad is None] == []
