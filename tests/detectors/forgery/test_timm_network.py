"""Networks of timm as detectors, by their names alone."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from facemill import ConfigError, DetectorError
from facemill.detectors.forgery import ForgeryDetector, options_of
from facemill.detectors.forgery import create as create_any
from facemill.detectors.forgery.gradcam import grad_cam
from facemill.registry import FORGERY_DETECTORS

SMALL = "timm/test_vit"
LAYOUTS = {  # of the last features, and their cells at a side of 64
    "test_efficientnet": (64, 2),  # maps
    "test_convnext": (64, 2),
    "test_mambaout": (64, 2),  # channels last
    "test_vit": (64, 4),  # a class token, which alone is classified
    "test_vit2": (64, 4),  # and registers
    "test_vit4": (64, 4),  # tokens that are averaged
    "cait_xxs24_224": (64, 4),  # a class token that comes late
}


def create(name: str, **options: Any) -> ForgeryDetector:
    """Without the weights that are downloaded by default."""
    return create_any(name, **{"pretrained": False, **options})


def weights_of(detector: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in detector.named_parameters()}


def step(detector: Any) -> None:
    """A step of SGD on noise."""
    torch.manual_seed(1)
    side = detector.input_spec.size
    loss = detector.train()(torch.randn(4, 3, side, side)).logit.square().sum()
    loss.backward()
    torch.optim.SGD([weight for weight in detector.parameters() if weight.requires_grad], 0.1).step()


@pytest.mark.parametrize("name", ["convnext_tiny", "vit_base_patch16_clip_224.openai", "vit_small_patch14_dinov2"])
def test_the_input_is_that_of_the_weights(name: str) -> None:
    known = timm.get_pretrained_cfg(name)
    options = options_of(f"timm/{name}")
    assert options.model_dump()["backbone"] == name
    assert options.input_spec.size == known.input_size[1]
    assert options.input_spec.mean == known.mean
    assert options.input_spec.std == known.std
    assert options_of(f"timm/{name}", {"size": 98}).input_spec.size == 98


@pytest.mark.parametrize("name", LAYOUTS)
def test_maps_show_what_the_log_odds_depend_on(name: str) -> None:
    side, cells = LAYOUTS[name]
    torch.manual_seed(0)
    detector = create(f"timm/{name}", size=side).eval()
    images = torch.randn(2, 3, side, side)
    assert grad_cam(detector, images).shape == (2, cells, cells)
    kept = []
    handle = detector.cam_layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    logit = detector(images).logit
    handle.remove()
    (gradient,) = torch.autograd.grad(logit.sum(), kept[-1])
    places = detector.cam_map(gradient)
    assert places.shape[2:] == (cells, cells)
    assert (places.abs().sum(1) > 0).all()  # of every cell
    if kept[-1].ndim == 4:
        assert places.shape[1] == detector.features.network.num_features


def test_cells_are_where_they_are_in_the_image() -> None:
    """The corner whose patches change is the corner of the map that changes."""
    torch.manual_seed(0)
    detector = create(SMALL, size=64).eval()
    with torch.no_grad():
        network = detector.features.network
        embedded = torch.arange(16.0)[None, :, None].expand(1, 16, 64)
        prefix = torch.full((1, network.num_prefix_tokens, 64), -1.0)
        found = detector.cam_map(torch.cat([prefix, embedded], 1))
    assert found[0, 0].tolist() == torch.arange(16.0).reshape(4, 4).tolist()


def test_a_probe_trains_its_classifier_alone() -> None:
    detector = create("timm/test_efficientnet", size=64, tuning="probe")
    before, statistics = weights_of(detector), {name: value.clone() for name, value in detector.named_buffers()}
    step(detector)
    changed = {name for name, value in detector.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(value, statistics[name]) for name, value in detector.named_buffers())


def test_adapters_change_nothing_at_first_and_only_by_low_rank() -> None:
    torch.manual_seed(0)
    plain = create(SMALL, size=64).eval()
    adapted = create(SMALL, size=64, tuning="lora", rank=2).eval()
    own = {
        name.replace("parametrizations.weight.original", "weight"): value
        for name, value in adapted.state_dict().items()
    }
    plain.load_state_dict({name: value for name, value in own.items() if "parametrizations" not in name})
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(plain(images).logit, adapted(images).logit)
    linear = {name: layer for name, layer in adapted.features.named_modules() if isinstance(layer, torch.nn.Linear)}
    before = {name: layer.weight.detach().clone() for name, layer in linear.items()}
    frozen = {name: value for name, value in weights_of(adapted).items() if "parametrizations.weight.0" not in name}
    for _ in range(2):  # at first, A gets no gradient, since B is 0
        adapted.zero_grad()
        step(adapted)
    ranks = [int(torch.linalg.matrix_rank(layer.weight - before[name], rtol=1e-4)) for name, layer in linear.items()]
    assert min(ranks) >= 1
    assert max(ranks) == 2
    changed = {
        name for name, value in adapted.named_parameters() if name in frozen and not torch.equal(value, frozen[name])
    }
    assert changed == {"classifier.weight", "classifier.bias"}
    trained = sum(value.numel() for value in adapted.features.parameters() if value.requires_grad)
    assert trained == sum(2 * sum(weight.shape) for weight in before.values())


def test_weights_of_a_file_arrive(tmp_path: Path) -> None:
    torch.manual_seed(3)
    given = timm.create_model("test_vit", img_size=64)
    torch.save(given.state_dict(), tmp_path / "vit.pth")
    detector = create(SMALL, size=64, weights=str(tmp_path / "vit.pth")).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = given.eval().forward_head(given.forward_features(images), pre_logits=True)
        found = detector.features.pool(detector.features(images))
    assert torch.equal(found, expected)
    larger = create(SMALL, size=96, weights=str(tmp_path / "vit.pth"))  # positions are resized, all else is the same
    for key, value in larger.features.network.state_dict().items():
        assert torch.equal(value, given.state_dict()[key]) or key == "pos_embed"
    with pytest.raises(DetectorError, match=r"vit.pth (is not one of|does not fit) timm's test_convnext"):
        create("timm/test_convnext", weights=str(tmp_path / "vit.pth"))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("timm/resnet180", {}, "timm has no network 'resnet180'"),
        ("timm/resnet18.mine", {}, "timm has no weights 'mine' of resnet18"),
        ("timm/", {}, "no forgery detector 'timm/'"),
        ("tim/resnet18", {}, "no forgery detector 'tim/resnet18'"),
        ("timm/test_resnet", {"tuning": "lora"}, "test_resnet has no linear layers"),
        (SMALL, {"backbone": "resnet18"}, "Option 'backbone' of timm/test_vit is invalid"),
        (SMALL, {"size": 0}, "Option 'size' of timm/test_vit is invalid"),
        (SMALL, {"size": 8}, "cannot be made for size=8"),
        ("timm/swin_tiny_patch4_window7_224", {"size": 1}, "cannot be made for size=1"),
    ],
)
def test_what_cannot_be_is_said(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        create(name, **options)


def test_names_of_networks_are_in_no_list() -> None:
    assert SMALL in FORGERY_DETECTORS
    assert SMALL not in list(FORGERY_DETECTORS)
