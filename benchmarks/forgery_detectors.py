"""Training step and inference of each forgery detector, compared with its own backbone with a plain classifier.

On a GPU: the papers' input sizes and batches, bf16 autocast, channels last, torch.compile (and ours eager). On a CPU:
half the input side, batches of 8, float32, eager.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.row import Row
from facemill.detectors.forgery import ForgeryBatch, ForgeryDetector, TrainingStep, create, create_objective, options_of
from facemill.detectors.forgery.plain import Plain, PlainOptions
from facemill.pipeline.config.recipe import load_recipe

__all__ = ["measure"]

NAMES = ("lrl", "mat", "sola", "sia", "etd")
REPEATS = 5
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bf16 operations per second, as stated by the manufacturer."""


def measure(*, device: str) -> list[Row]:
    """One row for training and one for inference per detector: its images/s divided by the plain backbone's."""
    return [row for name in NAMES for row in _rows(name, device)]


def _rows(name: str, device: str) -> list[Row]:
    on_gpu = device == "cuda"
    options = options_of(name)
    size = options.size if on_gpu else math.ceil(options.size / 64) * 32
    batch = load_recipe(name).train.batch if on_gpu else 8
    ours = create(name, size=size)
    plain = Plain(PlainOptions(backbone=options.backbone, size=size))
    weights = sum(weight.numel() for weight in ours.parameters())
    operations = _forward_operations(ours)
    rows = []
    # A training step counts as three forward passes: the operation counter treats depthwise gradients as dense.
    for what, work, passes in (("training step", _train, 3), ("inference", _infer, 1)):
        eager = _measured(work, ours, batch, device) if on_gpu else None
        mine, theirs = (_measured(work, one, batch, device, compiled=on_gpu) for one in (ours, plain))
        details = (
            f"{batch / mine.seconds:.1f} images/s at {size} px in batches of {batch}, "
            f"plain {options.backbone} {batch / theirs.seconds:.1f}; "
            f"{weights / 1e6:.1f} M parameters, {operations / 2e9:.2f} GMACs a forward pass of an image"
        )
        if eager is not None:
            details += f", {batch / eager.seconds:.1f} images/s if not compiled"
        if mine.memory:
            details += f", {mine.memory / 2**20:.0f} MiB (plain {theirs.memory / 2**20:.0f})"
        if on_gpu and (peak := _peak()):
            details += f", {passes * operations * batch / mine.seconds / peak:.0%} of the card's peak"
        rows.append(Row("forgery", f"{name} {what}", theirs.seconds / mine.seconds, "", details))
    return rows


def _forward_operations(detector: ForgeryDetector) -> int:
    """Floating-point operations of a forward pass for one image."""
    size = detector.input_spec.size
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        detector.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops()


def _peak() -> float | None:
    return next((flops for card, flops in PEAK_FLOPS.items() if card in torch.cuda.get_device_name()), None)


@dataclass(frozen=True)
class _Cost:
    """Cost of one call: median seconds, and bytes of memory (on a CPU, of tensors saved for the backward pass)."""

    seconds: float
    memory: int


def _measured(
    work: Callable[[ForgeryDetector, ForgeryBatch], Callable[[], None]],
    detector: ForgeryDetector,
    batch: int,
    device: str,
    *,
    compiled: bool = False,
) -> _Cost:
    torch.manual_seed(0)
    on_gpu = device == "cuda"
    layout = torch.channels_last if on_gpu else torch.contiguous_format
    call = work(detector.to(device, memory_format=layout), _batch(detector, batch, device, layout))
    if compiled:
        detector.compile()
    with torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext():
        kept = _Kept()
        with kept:
            call()
        call()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(REPEATS):
            _wait(on_gpu)
            start = time.perf_counter()
            call()
            _wait(on_gpu)
            times.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() if on_gpu else kept.bytes
    return _Cost(median(times), memory)


def _train(detector: ForgeryDetector, batch: ForgeryBatch) -> Callable[[], None]:
    detector.train()
    objective = create_objective(detector).to(batch.images.device)
    optimizer = torch.optim.Adam([*detector.parameters(), *objective.parameters()], 1e-5)

    def step() -> None:
        optimizer.zero_grad()
        objective(detector(batch.images), batch, TrainingStep(detector)).total.backward()
        optimizer.step()
        detector.after_step()
        objective.after_step()

    return step


def _infer(detector: ForgeryDetector, batch: ForgeryBatch) -> Callable[[], None]:
    detector.eval()

    def score() -> None:
        with torch.inference_mode():
            detector(batch.images)

    return score


def _batch(detector: ForgeryDetector, batch: int, device: str, layout: torch.memory_format) -> ForgeryBatch:
    size = detector.input_spec.size
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=layout)
    labels = (torch.arange(batch, device=device) % 2).float()
    masks = torch.zeros(batch, 1, size, size, device=device)
    masks[1::2, :, size // 4 : size // 2, size // 4 : size // 2] = 1
    return ForgeryBatch(
        image=images, label=labels, mask=masks, has_mask=torch.ones(batch, dtype=torch.bool, device=device)
    )


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()


class _Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes of tensors saved for the backward pass, the best available measure of memory on a CPU."""

    def __init__(self) -> None:
        self.bytes = 0
        self._seen: set[int] = set()
        super().__init__(self._count, lambda tensor: tensor)

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor
