"""A training step on a GPU never makes the CPU wait for it: PyTorch raises an error at each call that would."""

import pytest
import torch

from facemill.detectors.forgery import ForgeryBatch, create
from facemill.pipeline.config.train_settings import AugmentSettings, TrainSettings
from facemill.pipeline.train.module import ForgeryModule
from facemill.pipeline.train.ranks import Means
from tests.gpu.test_forgery_gpu import EVERYTHING, SMALL, raw_batch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

WARM_UP = 2
"""Steps in which tables are copied to the GPU once, and kernels are chosen."""


def step(module: ForgeryModule, optimizer: torch.optim.Optimizer, means: Means, raw: ForgeryBatch, number: int) -> None:
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        loss, terms = module(lambda: raw, 0, number)
    loss.backward()
    means.add({"train_loss": loss} | dict(terms), raw.size)
    optimizer.step()
    optimizer.zero_grad()
    module.after_step()


@pytest.mark.parametrize("augment", [AugmentSettings(), EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("name", SMALL)
def test_no_network_waits_in_a_step(name: str, augment: AugmentSettings) -> None:
    torch.manual_seed(0)
    settings = TrainSettings(augment=augment)
    module = ForgeryModule(create(name, **SMALL[name]), settings, seed=0).train().to("cuda")
    optimizer, means, raw = torch.optim.AdamW(module.parameters(), 1e-4), Means(), raw_batch()
    for number in range(WARM_UP):
        step(module, optimizer, means, raw, number)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(module, optimizer, means, raw, WARM_UP)
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_a_read_of_a_value_is_noticed() -> None:
    value = torch.ones((), device="cuda")
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchronizing"):
            value.item()
    finally:
        torch.cuda.set_sync_debug_mode(before)
