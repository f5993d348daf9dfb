"""Exposing the Deception: its size, its parts, and what depends on which local feature."""

from pathlib import Path

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch, create_objective
from facemill.detectors.forgery.etd.network import ETD, ETDOptions, ETDOutput
from tests.detectors.forgery.losses import loss_of

SIZE = 64
IMAGENET_CLASSES = 1000


@pytest.fixture
def detector() -> ETD:
    """Three narrow ResNets with local heads, in eval mode."""
    torch.manual_seed(0)
    return ETD(ETDOptions(backbone="resnet18", size=SIZE, n=3, width=8, local_heads=True)).eval()


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def predict(detector: ETD, pictures: Tensor) -> ETDOutput:
    with torch.no_grad():
        return detector(pictures)


def network_parameters(detector: ETD) -> int:
    return sum(value.numel() for value in detector.parameters())


def on_paper(**options: object) -> ETD:
    with torch.device("meta"):
        return ETD(ETDOptions.model_validate(options)).eval()


def giga_macs(detector: ETD) -> float:
    """Multiply-adds of one 224 x 224 image, in 10^9."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        detector(torch.empty(1, 3, 224, 224))
    return float(counter.get_total_flops()) / 2e9


def test_the_full_model_has_the_papers_size() -> None:
    detector = on_paper()
    assert network_parameters(detector) == 87_965_120
    assert create_objective(detector).weighting.sigma.numel() == 3
    assert giga_macs(detector) == pytest.approx(14.66, abs=0.005)


@pytest.mark.parametrize(("n", "millions"), [(3, 66.16), (4, 87.97), (5, 109.78), (6, 131.59), (7, 153.40)])
def test_n_blocks_have_the_papers_size(n: int, millions: float) -> None:
    assert round(network_parameters(on_paper(n=n, local_heads=True)) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("backbone", "channels", "millions", "macs"),
    [("mobilenetv1_100", 1024, 22.08, 2.28), ("tf_efficientnet_b0", 1280, 27.47, 1.54)],
)
def test_other_backbones_have_the_papers_size(backbone: str, channels: int, millions: float, macs: float) -> None:
    """The paper counts these backbones' ImageNet classifiers, which nothing uses and which are not built here."""
    detector = on_paper(backbone=backbone, local_heads=True)
    unused = 4 * IMAGENET_CLASSES * (channels + 1)
    assert round((network_parameters(detector) + unused) / 1e6, 2) == millions
    assert giga_macs(detector) == pytest.approx(macs, rel=0.01)


def test_heads_see_the_local_features_that_they_should(detector: ETD) -> None:
    """Another block's output must not move the heads that are without it, and must move all others."""
    before = predict(detector, images())
    handle = detector.blocks[1].register_forward_hook(lambda _block, _inputs, maps: 2 * maps + 1)
    after = predict(detector, images())
    handle.remove()
    assert before.local is not None
    assert after.local is not None
    without = (before.without - after.without).abs().amax((0, 2))
    local = (before.local - after.local).abs().amax((0, 2))
    assert without[1] == local[0] == local[2] == 0
    assert min(without[0], without[2], local[1]) > 0
    assert (before.joint != after.joint).all()
    assert (before.fused != after.fused).all()


def test_heads_compute_what_the_paper_says(detector: ETD) -> None:
    """Every prediction again, one image, head and class at a time, in float64."""
    torch.nn.init.uniform_(detector.fusion[1].running_mean, -0.2, 0.2)
    torch.nn.init.uniform_(detector.fusion[5].running_var, 0.5, 2)
    output = predict(detector, images())
    detector.double()
    assert output.local is not None
    with torch.no_grad():
        maps = [block(images().double()) for block in detector.blocks]
        for b in range(2):
            z = [block_maps[b].flatten(1).sum(1) / block_maps[b][0].numel() for block_maps in maps]
            torch.testing.assert_close(output.joint[b].double(), affine(detector.joint_head, torch.cat(z)))
            for i in range(3):
                others = torch.cat([z[j] for j in range(3) if j != i])
                expected = affine(detector.without_heads[i], others)
                torch.testing.assert_close(output.without[b, i].double(), expected, rtol=1e-4, atol=1e-5)
                expected = affine(detector.local_heads[i], z[i])
                torch.testing.assert_close(output.local[b, i].double(), expected, rtol=1e-4, atol=1e-5)
            g = torch.cat(z)
            for layer in (0, 4):
                g = normalised(detector.fusion[layer + 1], affine(detector.fusion[layer], g)).clamp(min=0)
            fused = affine(detector.fused_head[1], affine(detector.fusion[8], g))
            torch.testing.assert_close(output.fused[b].double(), fused, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(output.logit[b].double(), fused[1] - fused[0], rtol=1e-4, atol=1e-5)


def affine(layer: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.stack([(row * x).sum() + bias for row, bias in zip(layer.weight, layer.bias, strict=True)])


def normalised(layer: torch.nn.Module, x: Tensor) -> Tensor:
    return (x - layer.running_mean) / (layer.running_var + layer.eps).sqrt() * layer.weight + layer.bias


def test_only_cross_entropy_teaches_the_head_of_all_features() -> None:
    detector = ETD(ETDOptions(backbone="resnet18", size=SIZE, n=2, width=8))
    batch = ForgeryBatch(image=images(4), label=torch.tensor([0.0, 1.0, 0.3, 0.8]))
    terms = loss_of(detector, batch).terms
    (terms["local_information"] + terms["global_information"]).backward()
    assert detector.joint_head.weight.grad is None
    learners = (*detector.blocks, *detector.without_heads, detector.fusion, detector.fused_head)
    assert all(any(value.grad.abs().max() > 0 for value in part.parameters()) for part in learners)


def test_every_block_starts_from_the_weights_and_is_its_own(tmp_path: Path) -> None:
    network = timm.create_model("tinynet_e")
    save_file(network.state_dict(), tmp_path / "tinynet.safetensors")
    detector = ETD(ETDOptions(backbone="tinynet_e", size=SIZE, n=2, weights=tmp_path / "tinynet.safetensors"))
    first, second = ([*block.parameters(), *block.buffers()] for block in detector.blocks)
    expected = [value for key, value in network.state_dict().items() if not key.startswith("classifier.")]
    assert len(first) == len(expected)
    assert sorted(value.sum().item() for value in first) == sorted(value.sum().item() for value in expected)
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("local_heads", [False, True])
def test_pictures_are_grad_cam_of_the_local_features(local_heads: bool) -> None:
    torch.manual_seed(0)
    detector = ETD(ETDOptions(backbone="resnet18", size=SIZE, n=2, width=8, local_heads=local_heads)).eval()
    kept: list[Tensor] = []
    for block in detector.blocks:
        block.register_forward_hook(lambda _block, _inputs, maps: kept.append(maps))
    output = detector(images())
    with torch.no_grad():
        pictures = detector.explain(images())
    assert list(pictures) == ["local 1", "local 2"]
    for i, picture in enumerate(pictures.values()):
        logits = output.local[:, i] if local_heads else output.joint
        (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), kept[i], retain_graph=True)
        cells = gradient.shape[2] * gradient.shape[3]
        torch.testing.assert_close(picture, (gradient * cells * kept[i]).sum(1))


def test_predictions_stay_float32_in_mixed_precision(detector: ETD) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = predict(detector, images())
    assert {output.logit.dtype, output.joint.dtype, output.without.dtype} == {torch.float32}


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        ETDOptions(n=1)
    with pytest.raises(ValidationError, match="leave width out or set pretrained=false"):
        ETDOptions(width=16, pretrained=True)
    with pytest.raises(ConfigError, match="has no width to choose"):
        ETD(ETDOptions(backbone="tinynet_e", width=16))


def test_half_of_the_fused_features_is_dropped_in_training() -> None:
    """After both hidden layers of the fusion, and before P_G's head."""
    detector = ETD(ETDOptions(backbone="resnet18", size=64, width=8)).train()
    layers = [layer for layer in detector.fusion if isinstance(layer, torch.nn.Linear)]
    norms = [layer for layer in detector.fusion if isinstance(layer, torch.nn.BatchNorm1d)]
    kept: dict[torch.nn.Module, Tensor] = {}
    for layer in [*layers[1:], detector.fused_head[-1]]:
        layer.register_forward_pre_hook(lambda layer, x: kept.update({layer: x[0]}))
    full: dict[torch.nn.Module, Tensor] = {}
    for norm in norms:
        norm.register_forward_hook(lambda norm, x, y: full.update({norm: y.clone()}))
    layers[-1].register_forward_hook(lambda layer, x, y: full.update({layer: y.clone()}))
    detector(images(8))
    before = [full[norms[0]].relu(), full[norms[1]].relu(), full[layers[-1]]]
    after = [kept[layers[1]], kept[layers[2]], kept[detector.fused_head[-1]]]
    for whole, thinned in zip(before, after, strict=True):
        dropped = (thinned == 0) & (whole != 0)
        assert float(dropped.sum() / (whole != 0).sum()) == pytest.approx(0.5, abs=0.1)
        torch.testing.assert_close(thinned[~dropped], 2 * whole[~dropped])
