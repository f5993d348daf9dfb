"""What every registered forgery detector must do, at sizes that two cores can bear."""

import io
import re
import shutil
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from scipy.stats import spearmanr
from torch import Tensor

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch, ForgeryDetector, create, create_objective, options_of
from facemill.detectors.forgery.exported import export_detector
from facemill.detectors.forgery.gradcam import grad_cam
from facemill.pipeline.train.device import channels_last
from facemill.registry import FORGERY_DETECTORS
from tests.detectors.forgery.losses import loss_of

SMALL: dict[str, dict[str, Any]] = {
    "efficientnet_b4": {"backbone": "tinynet_e", "size": 64},
    "etd": {"backbone": "resnet18", "size": 64, "width": 8},
    "f3net": {"backbone": "tinynet_e", "size": 64, "positions": (3, 5)},
    "lrl": {"backbone": "tinynet_e", "size": 64, "k": 2},
    "mat": {"backbone": "tinynet_e", "size": 64},
    "recce": {"backbone": "tinynet_e", "size": 64, "stages": (4, 5, 6)},
    "resnet18": {"size": 64},
    "resnet34": {"size": 64},
    "sia": {"backbone": "tinynet_e", "size": 64},
    "sola": {"size": 64, "patch": 8, "width": 8},
    "spsl": {"size": 64, "backbone": "tinynet_e", "drop": ()},
    "temporal": {"size": 64, "backbone": "tinynet_e", "clip": 3},
    "timm/test_vit": {"size": 64, "pretrained": False, "tuning": "lora", "rank": 2},
    "video_resnet": {"size": 32, "clip": 4},
    "xception": {"size": 64},
}
"""Options that make a detector small enough; every detector needs an entry."""

registered = pytest.mark.parametrize("name", list(FORGERY_DETECTORS))
KINDS = (
    *("efficientnet_b4", "etd", "f3net", "lrl", "mat", "recce", "sia", "sola", "spsl", "temporal", "timm/test_vit"),
    "video_resnet",
)
every_kind = pytest.mark.parametrize("name", KINDS)
"""One name of each class: plain backbones differ in their family only, which is tried at the paper's own size."""
every_kind_or_mat = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name != "mat" else []) for name in KINDS]
)
"""And all but one of them apart: for what is slow."""


@cache
def untrained(name: str) -> ForgeryDetector:
    """A small detector in training mode, whose weights no test changes."""
    return create(name, **SMALL[name]).train()


@cache
@torch.enable_grad()
def trained(name: str) -> ForgeryDetector:
    """A small detector after three steps on noise, its normalisation statistics those of that noise."""
    torch.manual_seed(0)
    detector = create(name, **SMALL[name]).train()
    for module in detector.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain average: three steps are enough for it
    optimizer = torch.optim.SGD(detector.parameters(), 1e-3)
    for _ in range(3):
        batch = batch_of(detector, [0, 1, 0, 1, 0, 1])
        optimizer.zero_grad()
        loss_of(detector, batch).total.backward()
        optimizer.step()
        detector.after_step()
    return detector.eval()


def images_of(detector: ForgeryDetector, count: int, seed: int = 1) -> Tensor:
    """Blobs and noise in the detector's range."""
    side, clip = detector.input_spec.size, clip_of(detector)
    frames = count * int(np.prod(clip))
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.nn.functional.interpolate(torch.rand(frames, 3, 6, 6, generator=generator), (side, side))
    images = 0.8 * blobs + 0.2 * torch.rand(frames, 3, side, side, generator=generator)
    return detector.input_spec.normalise(images.reshape(count, *clip, 3, side, side))


def clip_of(detector: ForgeryDetector) -> tuple[int, ...]:
    """The dimension of time that its samples have, if any."""
    return () if detector.input_spec.clip is None else (detector.input_spec.clip,)


def batch_of(detector: ForgeryDetector, labels: list[float], *, masks: bool = True) -> ForgeryBatch:
    images, target = images_of(detector, len(labels)), torch.tensor(labels, dtype=torch.float32)
    if not masks:
        return ForgeryBatch(image=images, label=target)
    clip = clip_of(detector)
    forged = torch.zeros(len(labels), *clip, 1, *images.shape[-2:])
    forged[..., 16:40, 10:50] = 1
    forged[target == 0] = 0
    known = torch.ones(len(labels), *clip, dtype=torch.bool)
    return ForgeryBatch(image=images, label=target, mask=forged, has_mask=known)


def logits_of(detector: ForgeryDetector, images: Tensor) -> Tensor:
    with torch.no_grad():
        return detector(images).logit


def test_every_class_is_tried() -> None:
    assert [*KINDS] == sorted({type(untrained(name)).forward: name for name in reversed(SMALL)}.values())


@pytest.mark.heavy
@registered
def test_the_paper_s_own_size_goes_through(name: str) -> None:
    with torch.device("meta"):
        detector = create(name).eval()
        side = detector.input_spec.size
        output = detector(torch.empty(2, *clip_of(detector), 3, side, side))
    assert output.logit.shape == (2,)


@every_kind
def test_another_size_goes_through(name: str) -> None:
    detector = create(name, **{**SMALL[name], "size": 2 * SMALL[name]["size"]}).eval()
    assert torch.isfinite(logits_of(detector, images_of(detector, 2))).all()


@every_kind
def test_scores_are_the_sigmoid_of_the_log_odds(name: str) -> None:
    with torch.no_grad():
        output = trained(name)(images_of(trained(name), 3))
    torch.testing.assert_close(output.score, 1 / (1 + (-output.logit).exp()))


@every_kind
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    images = images_of(trained(name), 4)
    alone = torch.cat([logits_of(trained(name), image[None]) for image in images])
    torch.testing.assert_close(logits_of(trained(name), images), alone, rtol=1e-4, atol=1e-4)


@every_kind
@pytest.mark.parametrize(
    ("labels", "masks"),
    [([0, 1, 0, 1], True), ([0, 1, 0, 1], False), ([0, 0, 0], True), ([1, 1, 1], True), ([0.3, 0.7, 0.3], False)],
    ids=["both", "no masks", "reals", "fakes", "mixed"],
)
def test_the_loss_is_finite_whatever_the_batch_holds(name: str, labels: list[float], masks: bool) -> None:
    detector = untrained(name)
    batch = batch_of(detector, labels, masks=masks)
    loss = loss_of(detector, batch)
    assert loss.total.ndim == 0
    assert torch.isfinite(loss.total)
    assert all(torch.isfinite(term).all() for term in loss.terms.values())


@every_kind
def test_every_weight_gets_a_gradient(name: str) -> None:
    """A weight without one is an error under distributed training, and most often a wiring mistake."""
    detector = create(name, **SMALL[name]).train()
    batch = batch_of(detector, [0, 1, 0, 1])
    loss_of(detector, batch).total.backward()
    idle = [key for key, weight in detector.named_parameters() if weight.requires_grad and weight.grad is None]
    assert idle == []
    assert all(torch.isfinite(weight.grad).all() for weight in detector.parameters() if weight.grad is not None)


@every_kind
def test_a_state_dict_holds_all_of_it(name: str) -> None:
    saved = io.BytesIO()
    torch.save(trained(name).state_dict(), saved)
    saved.seek(0)
    fresh = create(name, **SMALL[name]).eval()
    fresh.load_state_dict(torch.load(saved, weights_only=True))
    images = images_of(fresh, 2)
    assert torch.equal(logits_of(fresh, images), logits_of(trained(name), images))


@pytest.mark.heavy
@pytest.mark.parametrize(  # without instructions for bf16, a processor takes minutes for convolutions of clips
    "name", [pytest.param(name, marks=[pytest.mark.long] if name == "video_resnet" else []) for name in KINDS]
)
def test_bf16_ranks_images_as_float32_does(name: str) -> None:
    images = images_of(trained(name), 24)
    with torch.autocast("cpu", torch.bfloat16):
        rough = logits_of(trained(name), images)
    assert spearmanr(rough.float(), logits_of(trained(name), images)).statistic > 0.9


@pytest.mark.heavy
@every_kind_or_mat
def test_it_compiles_into_one_graph(name: str) -> None:
    torch.compiler.reset()
    images = images_of(trained(name), 2)
    compiled = torch.compile(trained(name), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(logits_of(compiled, images), logits_of(trained(name), images), rtol=1e-4, atol=1e-4)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex operators")  # SPSL's
@every_kind
def test_compiled_by_inductor_it_gives_the_same(name: str) -> None:
    torch.compiler.reset()
    images = images_of(trained(name), 2)
    compiled = torch.compile(deepcopy(trained(name)))
    torch.testing.assert_close(logits_of(compiled, images), logits_of(trained(name), images), rtol=1e-3, atol=1e-3)


@every_kind
def test_in_channels_last_layout_it_gives_the_same(name: str) -> None:
    images = images_of(trained(name), 3)
    detector = deepcopy(trained(name))
    channels_last(detector)
    laid_out = images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
    logits = logits_of(detector, laid_out)
    torch.testing.assert_close(logits, logits_of(trained(name), images), rtol=1e-4, atol=1e-4)


@pytest.mark.heavy
@every_kind_or_mat
def test_it_exports_to_onnx_for_any_batch_size(name: str) -> None:
    detector = trained(name)
    model = onnxruntime.InferenceSession(export_detector(detector, ".onnx", {}), providers=["CPUExecutionProvider"])
    side = detector.input_spec.size
    for count in (1, 5):
        crops = torch.randint(256, (count, *clip_of(detector), 3, side, side), dtype=torch.uint8)
        [logit] = model.run(["log_odds"], {"crops": crops.numpy()})
        np.testing.assert_allclose(logit, logits_of(detector, detector.preprocess(crops)).numpy(), rtol=1e-3, atol=1e-3)


@every_kind
def test_pictures_have_one_map_per_image(name: str) -> None:
    images = images_of(trained(name), 2)
    with torch.no_grad():
        maps = trained(name).explain(images)
    for picture in (*maps.values(), grad_cam(trained(name), images)):
        assert picture.ndim == 3 + len(clip_of(trained(name)))
        assert picture.shape[:-2] == (2, *clip_of(trained(name)))
        assert torch.isfinite(picture).all()


@every_kind
def test_an_epoch_can_end(name: str) -> None:
    detector = create(name, **SMALL[name])
    objective = create_objective(detector)
    for module in (detector, objective):
        module.after_epoch()
        assert not any(torch.isnan(value).any() for value in module.state_dict().values())


@registered
def test_unknown_options_and_wrong_values_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no option 'sise' \(did you mean 'size'\?\): its options are size"):
        create(name, sise=64)
    with pytest.raises(ConfigError, match=f"Option 'size' of {name} is invalid"):
        create(name, size=0)
    if not hasattr(options_of(name), "backbone"):
        return
    with pytest.raises(ConfigError, match="timm has no network 'resnet1000'"):
        create(name, backbone="resnet1000")
    with pytest.raises(ConfigError, match=r"timm has no weights 'in22k' of resnet18: choose others \(resnet18\.a1"):
        create(name, backbone="resnet18.in22k")


@pytest.mark.parametrize("name", [name for name in FORGERY_DETECTORS if hasattr(options_of(name), "backbone")])
def test_pretrained_weights_are_of_imagenet_alone(name: str) -> None:
    """The tag says so: more data, as in `ns_jft_in1k` or `fb_swsl_ig1b_ft_in1k`, would come before its last part."""
    backbone = options_of(name).backbone
    assert backbone in timm.list_pretrained()
    assert re.search(r"\.(aa|ap|tf|tv)_in1k$", backbone)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no forgery detector 'matt' \(did you mean 'mat'\?\): use one of"):
        create("matt")
