"""Under bf16 autocast, detectors pool and classify in float32: log-odds keep their order, without ties."""

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from facemill.detectors.forgery import ForgeryDetector, create
from facemill.detectors.forgery.lrl.modules import patch_similarity
from tests.detectors.forgery.test_contract import SMALL

CROPS = 2048


def crops(count: int, seed: int, strongest: float = 0.12) -> tuple[Tensor, Tensor]:
    """Coloured blobs, and on the fakes a pattern of two pixels' width, which is stronger or weaker."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator), (64, 64), mode="bilinear")
    labels = torch.randint(2, (count,), generator=generator).float()
    strength = strongest * torch.rand(count, 1, 1, 1, generator=generator) * labels[:, None, None, None]
    pattern = (torch.arange(64) // 2 % 2 * 2 - 1) * (torch.arange(64)[:, None] // 2 % 2 * 2 - 1)
    noise = 0.05 * torch.randn(count, 3, 64, 64, generator=generator)
    return (blobs + strength * pattern + noise).clamp(0, 1) * 2 - 1, labels


@torch.enable_grad()
def trained(name: str, strongest: float) -> ForgeryDetector:
    torch.manual_seed(0)
    detector = create(name, **SMALL[name]).train()
    for module in detector.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.2
    optimizer = torch.optim.Adam(detector.parameters(), 2e-3)
    for step in range(40):
        images, labels = crops(32, 1000 + step, strongest)
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(detector(images).logit, labels).backward()
        optimizer.step()
    return detector.eval()


NAMES = ("efficientnet_b4", "etd", "f3net", "lrl", "mat", "recce", "sia", "sola", "spsl")


@pytest.mark.long
@pytest.mark.timeout(3600)  # minutes each where the processor cannot multiply bf16
@pytest.mark.parametrize("name", NAMES)
def test_bf16_scores_as_float32_does(name: str) -> None:
    strongest = {"sola": 0.025, "spsl": 0.1}.get(name, 0.12)
    detector = trained(name, strongest)
    fine, rough, truth = [], [], []
    for seed in range(CROPS // 256):
        images, labels = crops(256, seed, strongest)
        with torch.no_grad():
            fine.append(detector(images).logit)
            with torch.autocast("cpu", torch.bfloat16):
                rough.append(detector(images).logit)
        truth.append(labels)
    logits, in_bf16, labels = torch.cat(fine), torch.cat(rough), torch.cat(truth)
    auc = roc_auc_score(labels, logits)
    assert 0.9 < auc < 0.99  # otherwise no error could change it
    assert in_bf16.dtype == torch.float32
    assert len(in_bf16.unique()) > 0.99 * CROPS
    assert abs(roc_auc_score(labels, in_bf16) - auc) < 1e-3


def test_the_similarity_of_equal_patches_is_no_more_than_one() -> None:
    patches = torch.randn(64, 1, 2008, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, -1, 10, 10)[
        :, 0
    ]
    similarity = patch_similarity(patches, 5)
    assert float(similarity.max()) == 1
    assert float(patch_similarity(torch.cat([patches, -patches], 3), 2).min()) == 0
