"""What training makes of a detector."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d

from facemill.detectors.forgery import create
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.train.fit import configure
from facemill.pipeline.train.module import ForgeryModule
from facemill.registry import FORGERY_DETECTORS
from tests.detectors.forgery.test_contract import SMALL, images_of
from tests.pipeline.trained import SMALL as SMALL_RUN

BACKBONES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in list(FORGERY_DETECTORS)),
    *(("etd", {"backbone": name, "width": None}) for name in ("tf_efficientnet_b0", "mobilenetv1_100")),
    *(("sia", {"backbone": name}) for name in ("mobilenetv2_100", "tf_efficientnet_b0", "legacy_xception")),
    *(("mat", {"backbone": name}) for name in ("tf_efficientnet_b4", "legacy_xception")),
    *(("lrl", {"backbone": name}) for name in ("tf_efficientnet_b4", "legacy_xception")),
    *(("sola", {"backbone": name, "width": None}) for name in ("resnet50", "resnet101")),
]
"""Every detector, and every backbone that its paper's tables name."""
LARGE = (("lrl", "tf_efficientnet_b4"), ("lrl", "legacy_xception"), ("sola", "resnet101"))
"""Whose families others have, too."""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(name, options, marks=[pytest.mark.long] if (name, options.get("backbone")) in LARGE else [])
        for name, options in BACKBONES
    ],
    ids=str,
)
@torch.no_grad()
def test_norms_over_all_ranks_leave_the_network_as_it_is(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    detector = create(name, **{**SMALL[name], **options}).eval()
    for norm in detector.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.8, 1.2)
    images = images_of(detector, 2)
    before = detector(images).logit
    by_torch = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(detector))
    activated = sum(isinstance(module, BatchNormAct2d) for module in detector.modules())
    trained = ForgeryModule(detector, TrainSettings(), seed=0, synchronised=True).detector
    kinds = {type(module) for module in trained.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)}
    assert all(issubclass(kind, torch.nn.SyncBatchNorm) for kind in kinds)
    assert kinds
    torch.testing.assert_close(trained(images).logit, before, rtol=0, atol=1e-6)
    # PyTorch's own conversion drops the activations that timm keeps in norm layers.
    assert torch.allclose(by_torch(images).logit, before, rtol=0, atol=1e-6) == (activated == 0)


def test_the_form_of_mats_region_loss_is_the_recipes(toy: Path) -> None:
    forms = {}
    for form in ("paper", "release"):
        recipe = load_recipe("default", [*SMALL_RUN, f"train.model.ril_form={form}"])
        config = configure("mat", [toy], recipe)
        objective: Any = ForgeryModule(create("mat", **config.options), config.train, seed=0).objective
        assert objective.region_loss.form == form
        loss = objective.region_loss
        vectors = torch.nn.functional.normalize(torch.randn(4, *loss.centres.shape, generator=torch.Generator()), dim=2)
        forms[form] = float(loss(vectors, torch.tensor([0.0, 1, 0, 1])))
    assert abs(forms["paper"] - forms["release"]) > 0.1
