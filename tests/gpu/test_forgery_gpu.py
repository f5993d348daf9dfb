"""Forgery detectors and augmentation on a GPU, as training runs them: mixed bf16, channels last, eager and compiled."""

import pytest
import torch

from facemill.detectors.forgery import (
    ForgeryBatch,
    ForgeryDetector,
    ForgeryObjective,
    TrainingStep,
    create,
    create_objective,
)
from facemill.pipeline.config.train_settings import AugmentSettings
from facemill.pipeline.data import Augmentation, prepare

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

SIDE = 160
SMALL = {
    "etd": {"size": 64},
    "lrl": {"size": 160},
    "mat": {"size": 128},
    "sia": {"size": 128},
    "sola": {"size": 128, "supervision": "full"},
}
EVERYTHING = AugmentSettings(flip=0.5, affine=1, jpeg=1, noise=1, blur=1, colour=1, gray=0.5, mixup=0.5)


def raw_batch(device: str = "cuda") -> ForgeryBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(8, 1, SIDE, SIDE, dtype=torch.uint8)
    masks[4:, :, 40:90, 50:100] = 255
    known = torch.ones(8, dtype=torch.bool)
    fields = {
        "image": images,
        "mask": masks,
        "label": torch.arange(8) // 4,
        "has_mask": known,
        "index": torch.arange(8),
    }
    return ForgeryBatch(fields).to(device)


def test_every_augmentation_gives_pictures_and_moves_masks_with_them() -> None:
    detector = create("resnet18", size=SIDE)
    batch = prepare(raw_batch(), detector.input_spec, Augmentation(EVERYTHING, seed=0))
    assert batch.images.is_cuda
    assert torch.isfinite(batch.images).all()
    assert batch.masks is not None
    assert 0 < batch.masks.mean() < 0.2


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", SMALL)
def test_two_training_steps_leave_finite_weights(name: str, compiled: bool) -> None:
    torch.manual_seed(0)
    detector = create(name, **SMALL[name]).to("cuda", memory_format=torch.channels_last)
    if compiled:
        detector.compile()
    batch = prepare(raw_batch(), detector.input_spec)
    objective = create_objective(detector).to("cuda")
    optimizer = torch.optim.Adam([*detector.parameters(), *objective.parameters()], 1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        loss = loss_in_bf16(detector, objective, batch)
        loss.backward()
        optimizer.step()
        detector.after_step()
        objective.after_step()
    objective.after_epoch()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weight).all() for weight in detector.parameters())


def loss_in_bf16(detector: ForgeryDetector, objective: ForgeryObjective, batch: ForgeryBatch) -> torch.Tensor:
    with torch.autocast("cuda", torch.bfloat16):
        output = detector(batch.images.contiguous(memory_format=torch.channels_last))
        return objective(output, batch, TrainingStep(detector)).total


@pytest.mark.parametrize("name", SMALL)
def test_scores_agree_with_the_cpu(name: str) -> None:
    torch.manual_seed(0)
    detector = create(name, **SMALL[name]).eval()
    images = prepare(raw_batch(), detector.input_spec).images
    with torch.no_grad():
        on_gpu = detector.to("cuda")(images).logit.cpu()
        on_cpu = detector.to("cpu")(images.cpu()).logit
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-2, atol=1e-2)
