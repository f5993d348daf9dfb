"""SOLA as a whole: its size, its switches, its losses, its constraint in training, its pictures."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch
from facemill.detectors.forgery.sola.network import SOLA, SOLAOptions, SOLAOutput
from tests.detectors.forgery.losses import loss_of

NEIGHBOURS = [(1, 0), (2, 0), (0, 1), (0, 2)]  # v1, v2, h1, h2 as rows above, columns to the left


def small(**options: object) -> SOLA:
    """64x64 input, 8x8 patches of stages with 4, 8 and 16 channels; lambda not 0, so that enhancement counts."""
    torch.manual_seed(0)
    model = SOLA(SOLAOptions.model_validate({"size": 64, "patch": 8, "width": 4, **options}))
    with torch.no_grad():
        for stage in model.stages:
            if model.options.lem:
                stage.enhancement.scale.fill_(0.5)
    return model


def on_meta(**options: object) -> tuple[SOLA, SOLAOutput]:
    """A model without data, and its output for two pictures."""
    with torch.device("meta"):
        model = SOLA(SOLAOptions.model_validate(options))
        size = model.options.size
        return model, model(torch.zeros(2, 3, size, size))


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_size_and_shapes_at_the_paper_s_input():
    model, output = on_meta()
    # Two ResNet-18 without the fourth layer, 225 of ASRM, attention (r = 16), enhancement (to C / 8), predictors, head.
    trunk = 2 * (9408 + 128 + 147_968 + 525_568 + 2_099_712)
    attention = sum(3 * 2 * c * (c // 16) for c in (64, 128, 256))
    enhancement = sum(2 * (c * c // 8 + c // 8) + c * c + c + 1 for c in (64, 128, 256))
    predictors = 4 * (256 * 64 * 2 + 64) + 4 * (64 * 2 + 1)
    head = 4 * 64 * 9 + 64 + 64 + 1
    assert parameters(model) == trunk + 225 + attention + enhancement + predictors + head == 5_840_409
    assert output.logit.shape == (2,)
    assert output.first_logits.shape == (2, 4, 64, 16, 16)
    assert output.second_logits.shape == (2, 4, 16, 16)
    assert model.input_spec.size == 256
    assert torch.equal(model.input_spec.normalise(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))  # values stay 0..1


def test_the_stem_does_not_pool():
    model, _ = on_meta()
    x = torch.zeros(1, 3, 256, 256, device="meta")
    sides = []
    for stage in model.stages:
        x = stage.colour(x)
        sides.append(tuple(x.shape[1:]))
    assert sides == [(64, 128, 128), (128, 64, 64), (256, 32, 32)]


@pytest.mark.parametrize(
    ("options", "side", "channels"),
    [
        ({"patch": 8}, 8, 256),
        ({"patch": 32}, 32, 256),
        ({"backbone": "resnet50"}, 16, 1024),
        ({"backbone": "resnet101"}, 16, 1024),
        ({"backbone": "tinynet_e", "size": 128}, 16, 24),
        ({"width": 16, "size": 128}, 16, 64),
    ],
)
def test_patches_backbones_and_widths(options, side, channels):
    model, output = on_meta(**options)
    assert output.first_logits.shape == (2, 4, 64, side, side)
    assert model.anomalies.first_order[0].conv.in_channels == channels


def test_switches_take_parts_away():
    full = parameters(small())
    assert parameters(small(noise="lsrm")) == full
    assert parameters(small(noise="srm")) == full - 225
    plain = small(noise="none")
    assert plain.filters is None
    assert not any("fusion" in name or "noise" in name for name, _ in plain.named_parameters())
    assert not any("enhancement" in name for name, _ in small(lem=False).named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 250}, "multiple of 8 x patch = 128"),
        ({"size": 128, "patch": 32}, "multiple of 8 x patch = 256"),
        ({"pretrained": True, "width": 16}, "leave width out"),
        ({"patch": 7}, "Input should be 8, 16 or 32"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        SOLAOptions.model_validate(options)


def test_a_width_is_for_resnets_alone():
    with pytest.raises(ConfigError, match="no width to choose"):
        small(backbone="tinynet_e")


@pytest.mark.parametrize("noise", ["srm", "lsrm", "asrm"])
def test_training_steps_and_the_constraint(noise):
    model = small(noise=noise)
    before = model.filters.weight.clone()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    images, labels = torch.rand(4, 3, 64, 64), torch.tensor([0.0, 1, 0, 1])
    for _ in range(2):
        loss = loss_of(model, ForgeryBatch(image=images, label=labels)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        model.after_step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    kernels = model.filters.weight.detach()
    held = torch.allclose(kernels.sum((2, 3)), torch.zeros(3, 3), atol=1e-5) and bool((kernels[:, :, 2, 2] == -1).all())
    assert held == (noise != "lsrm")
    assert torch.equal(kernels, before) == (noise == "srm")


def test_weak_loss_agrees_with_loops():
    model = small(alpha=2, beta=3, gamma=5)
    logit, first, second = torch.randn(4), torch.randn(4, 4, 64, 8, 8), torch.randn(4, 4, 8, 8)
    labels = torch.tensor([0.0, 1, 0, 0.3])  # the last is partly a fake: it has anomalies
    loss = loss_of(model, ForgeryBatch(image=torch.zeros(4, 3, 64, 64), label=labels), SOLAOutput(logit, first, second))
    expected = [0.0, 0.0]
    for k in range(4):  # the sum over v1, v2, h1, h2 of Eq. 12
        for order, maps in enumerate((first, second)):
            values = (1 / (1 + np.exp(-maps[[0, 2], k].double().numpy()))).flatten()
            expected[order] += sum(abs(value - 0) for value in values) / len(values)
    p = 1 / (1 + np.exp(-logit.double().numpy()))
    y = labels.double().numpy()
    classification = -sum(y[b] * np.log(p[b]) + (1 - y[b]) * np.log(1 - p[b]) for b in range(4)) / 4
    assert loss.terms["classification"].item() == pytest.approx(classification, rel=1e-5)
    assert loss.terms["first_order"].item() == pytest.approx(expected[0], rel=1e-5)
    assert loss.terms["second_order"].item() == pytest.approx(expected[1], rel=1e-5)
    assert loss.total.item() == pytest.approx(2 * classification + 3 * expected[0] + 5 * expected[1], rel=1e-5)


def cross_entropy_with_mask(maps: np.ndarray, mask: np.ndarray, order: int) -> float:
    """Eqs. 9 and 10 for one sample: probabilities [4, maps, 8, 8] against a mask [64, 64], cell by cell."""
    averages = mask.reshape(8, 8, 8, 8).mean((1, 3))
    total = 0.0
    for k, (up, left) in enumerate(NEIGHBOURS):
        target = averages
        for _ in range(order):
            differs = np.zeros((8, 8))
            for i in range(up, 8):
                for j in range(left, 8):
                    differs[i, j] = abs(target[i, j] - target[i - up, j - left]) > 0
            target = differs
        for p in maps[k]:
            total -= (target * np.log(p) + (1 - target) * np.log(1 - p)).mean() / len(maps[k])
    return total


def test_supervised_loss_agrees_with_loops_and_passes_unknown_masks_over():
    model = small(supervision="full")
    logit, first, second = torch.randn(4), torch.randn(4, 4, 64, 8, 8), torch.randn(4, 4, 8, 8)
    masks = torch.zeros(4, 1, 64, 64)
    masks[1, 0, 10:40, 20:50] = 1
    masks[3] = torch.nan  # a fake whose mask is not known: what stands there must not matter
    batch = ForgeryBatch(
        image=torch.zeros(4, 3, 64, 64),
        label=torch.tensor([0.0, 1, 0, 1]),
        mask=masks,
        has_mask=torch.tensor([True, True, True, False]),
    )
    loss = loss_of(model, batch, SOLAOutput(logit, first, second))
    for order, maps in ((1, first), (2, second[:, :, None])):
        probabilities = 1 / (1 + np.exp(-maps.double().numpy()))
        each = [cross_entropy_with_mask(probabilities[b], masks[b, 0].double().numpy(), order) for b in range(3)]
        term = loss.terms["first_order" if order == 1 else "second_order"]
        assert term.item() == pytest.approx(np.mean(each), rel=1e-5)
    assert loss.total.item() == pytest.approx(sum(term.item() for term in loss.terms.values()), rel=1e-6)


@pytest.mark.parametrize("supervision", ["weak", "full"])
@pytest.mark.parametrize("masks", ["none", "unknown"])
def test_batches_without_reals_or_masks_are_classified_only(supervision, masks):
    model = small(supervision=supervision)
    images = torch.rand(2, 3, 64, 64)
    known = {} if masks == "none" else {"mask": torch.zeros(2, 1, 64, 64), "has_mask": torch.zeros(2, dtype=torch.bool)}
    loss = loss_of(model, ForgeryBatch(image=images, label=torch.ones(2), **known))
    assert loss.terms["first_order"] == loss.terms["second_order"] == 0
    assert loss.total == loss.terms["classification"]
    loss.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_the_classifier_sees_the_second_order_maps_alone():
    model = small().eval()
    output = model(torch.rand(2, 3, 64, 64))
    maps = output.second_logits.double().sigmoid().numpy()
    weight, bias = model.conv.weight.double().numpy(), model.conv.bias.double().numpy()
    for b in range(2):
        padded = np.pad(maps[b], ((0, 0), (1, 1), (1, 1)))
        pooled = np.zeros(64)
        for i in range(8):
            for j in range(8):
                response = (weight * padded[None, :, i : i + 3, j : j + 3]).sum((1, 2, 3)) + bias
                pooled += np.maximum(response, 0) / 64
        logit = model.classifier.weight.double().numpy()[0] @ pooled + model.classifier.bias.item()
        assert output.logit[b].item() == pytest.approx(logit, abs=1e-6)


@torch.no_grad()
def test_predictions_depend_on_noise_and_enhancement_and_on_nobody_else():
    images = torch.rand(3, 3, 64, 64)
    model = small().eval()
    output = model(images)
    torch.testing.assert_close(model(images[1:2]).second_logits, output.second_logits[1:2], rtol=1e-4, atol=1e-5)
    model.filters.weight.mul_(2)
    louder = model(images).second_logits
    assert not torch.allclose(louder, output.second_logits, atol=1e-6)
    for stage in model.stages:
        stage.enhancement.scale.zero_()
    assert not torch.allclose(model(images).second_logits, louder, atol=1e-6)


@torch.no_grad()
def test_pictures_are_the_anomaly_maps():
    model = small().eval()
    images = torch.rand(2, 3, 128, 64)  # another size: as many patches
    maps, output = model.explain(images), model(images)
    assert list(maps) == [
        f"{order} order {neighbour}"
        for order in ("first", "second")
        for neighbour in ("vertical 1", "vertical 2", "horizontal 1", "horizontal 2")
    ]
    assert all(picture.shape == (2, 8, 8) for picture in maps.values())
    torch.testing.assert_close(maps["first order vertical 2"], output.first_logits[:, 1].sigmoid().mean(1))
    torch.testing.assert_close(maps["second order horizontal 1"], output.second_logits[:, 2].sigmoid())


@torch.no_grad()
def test_the_noise_stream_goes_on_by_itself_and_the_last_map_is_averaged():
    model = SOLA(SOLAOptions(size=128, patch=8, width=8)).eval()
    given: dict[str, list[torch.Tensor]] = {}
    for name, module in [("pool", model.pool), *((f"noise {n}", s.noise) for n, s in enumerate(model.stages))]:
        module.register_forward_hook(lambda _, x, y, name=name: given.update({name: [x[0], y]}))
    images = torch.rand(1, 3, 128, 128)
    model(images)
    torch.testing.assert_close(given["noise 0"][0], model.filters(images))
    for stage in (1, 2):
        assert torch.equal(given[f"noise {stage}"][0], given[f"noise {stage - 1}"][1])
    last, pooled = given["pool"]  # 16x16 cells, of which 2x2 become one by their mean
    torch.testing.assert_close(pooled, last.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean((3, 5)))
