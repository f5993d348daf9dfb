"""facemill's training loop compared with a bare loop over the same network, objective and optimiser.

The bare loop repeats one prepared batch on the device: no loading, augmentation, reseeding or log. On a GPU:
the papers' input sizes and batches, bf16 autocast, channels last, torch.compile. On a CPU: a small network and
batches of 4, which only shows that the benchmark runs; and the CPU seconds of a step next to those of a plain loop,
both of which prepare the same batches in memory, but the plain one without augmentation, reseeding and log.
"""

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from lightning.fabric import Fabric
from torch.utils.data import DataLoader

from benchmarks.clips import source_clip
from benchmarks.feeding import _dataset
from benchmarks.forgery_detectors import NAMES, _forward_operations, _peak, _wait
from benchmarks.row import Row
from facemill.detectors.forgery import TrainingStep, create
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.data import BalancedSampler, FaceDataset, collate, prepare
from facemill.pipeline.train.device import launched
from facemill.pipeline.train.epoch_log import EpochLog
from facemill.pipeline.train.loop import TrainingLoop
from facemill.pipeline.train.module import ForgeryModule
from facemill.pipeline.train.optimizers import create_optimizer, create_schedule

__all__ = ["measure"]

WARM_UP, STEPS = 3, 20
SMALL = {"mat": {"backbone": "tinynet_e", "size": 64}}
ON_A_CPU: dict[str, dict[str, Any]] = {
    "resnet18": {"size": 224},
    "mat": {"backbone": "tinynet_e", "size": 224},
    "lrl": {"backbone": "tinynet_e", "size": 160},
}
ROUNDS, ROUND_STEPS = 5, 4
PASSES = 3
"""Forward passes that a training step counts as, in operations."""


def measure(scratch: Path, *, device: str, workers: int) -> list[Row]:
    """Images per second of the loop and of loading alone, each divided by that of the bare loop or of the loop."""
    data = _dataset(scratch / "feeding" / "parquet", "parquet", source_clip(scratch))
    networks: dict[str, dict[str, Any]] = {name: {} for name in NAMES} if device == "cuda" else SMALL
    rows = [row for name, options in networks.items() for row in _rows(name, options, data, scratch, device, workers)]
    overheads = [] if device == "cuda" else [_overhead(name, data, scratch) for name in ON_A_CPU]
    return [*overheads, *rows]


def _overhead(name: str, data: Path, scratch: Path) -> Row:
    """CPU seconds of the training loop's steps and of a plain loop's, in turns, on one thread."""
    settings, threads = TrainSettings(batch=4), torch.get_num_threads()
    torch.set_num_threads(1)
    with launched(on_gpu=False, nodes=1, processes=1, mixed=False) as fabric:
        torch.manual_seed(0)
        module = ForgeryModule(create(name, **ON_A_CPU[name]), settings, seed=0)
        optimizer = create_optimizer(module, settings.optimizer)
        batches = list(islice(_loader(data, settings.batch, 0, module, False), ROUND_STEPS))
        faces: Any = SimpleNamespace(train_loader=batches, set_epoch=lambda epoch: None, steps=ROUND_STEPS)
        schedule, run = create_schedule(optimizer, settings.schedule, 1), scratch / "training"
        loop = TrainingLoop(fabric, module, optimizer, schedule, faces, run, settings, seed=0)
        with EpochLog(run, epochs=1, steps=ROUND_STEPS, progress=False) as log:
            loop._train(0, log)
            turns = [
                (_cpu_seconds(lambda: loop._train(0, log)), _cpu_seconds(lambda: _plain_epoch(loop, batches)))
                for _ in range(ROUNDS)
            ]
    torch.set_num_threads(threads)
    ratio = median(ours / plain for ours, plain in turns)
    ours, plain = (median(turn[part] for turn in turns) / ROUND_STEPS * 1e3 for part in (0, 1))
    details = f"{ours:.0f} / {plain:.0f} ms, batches of {settings.batch}, {ON_A_CPU[name]['size']} px"
    return Row("training", f"{name}: a step of the training loop / of a plain loop, CPU", ratio, "<= 1.03", details)


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _plain_epoch(loop: TrainingLoop, batches: list[Any]) -> None:
    module, optimizer = loop._module, loop._optimizer
    for raw in batches:
        batch = prepare(raw, module.detector.input_spec)
        loss = module.objective(module.detector(batch.images), batch, TrainingStep(module.detector, 0, 0)).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        module.after_step()


def _rows(name: str, options: dict[str, Any], data: Path, scratch: Path, device: str, workers: int) -> list[Row]:
    on_gpu = device == "cuda"
    settings = TrainSettings(batch=load_recipe(name).train.batch if on_gpu else 4)
    operations = _forward_operations(create(name, **options))
    with launched(on_gpu=on_gpu, nodes=1, processes=1, mixed=on_gpu) as fabric:
        torch.manual_seed(0)
        module = ForgeryModule(create(name, **options), settings, seed=0, compiled=on_gpu)
        if on_gpu:
            module = module.to(memory_format=torch.channels_last)
            torch.backends.cudnn.benchmark = True
        optimizer = create_optimizer(module, settings.optimizer)
        schedule = create_schedule(optimizer, settings.schedule, 1)
        loader = _loader(data, settings.batch, workers, module, on_gpu)
        faces: Any = SimpleNamespace(train_loader=loader, set_epoch=lambda epoch: None, steps=WARM_UP + STEPS)
        run = scratch / "training"
        loop = TrainingLoop(fabric, module, optimizer, schedule, faces, run, settings, seed=0, steps=WARM_UP + STEPS)
        clock = _Clock(run, epochs=1, steps=WARM_UP + STEPS, progress=False, writes=False)
        loop._train(0, clock)  # ends by reading the loss, for which it waits
        ours = settings.batch * STEPS / (time.perf_counter() - clock.times[WARM_UP - 1])
        memory = torch.cuda.max_memory_allocated() if on_gpu else 0
        bare = settings.batch / _bare(fabric, loop, next(iter(loader)), on_gpu)
    loading = _loading(loader, settings.batch)
    details = f"{ours:.1f} / {bare:.1f} images/s, batches of {settings.batch}, {operations / 2e9:.2f} GMACs an image"
    if on_gpu:
        details += f", {memory / 2**20:.0f} MiB, {torch.cuda.get_device_name()}"
        if peak := _peak():
            details += f", {PASSES * operations * ours / peak:.0%} of its peak"
    return [
        Row("training", f"{name}: training loop / bare loop, images/s", ours / bare, "", details),
        Row(
            "training",
            f"{name}: loading alone / training loop, images/s",
            loading / ours,
            ">= 1",
            f"{loading:.1f} / {ours:.1f} images/s, {workers} loading processes",
        ),
    ]


class _Clock(EpochLog):
    """Notes when each step was given to the device."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.times: list[float] = []

    def step(self) -> None:
        self.times.append(time.perf_counter())


def _loader(data: Path, batch: int, workers: int, module: ForgeryModule, on_gpu: bool) -> Any:
    dataset = FaceDataset(data, "train", fields=module.objective.fields)
    sampler = BalancedSampler(dataset.labels, balance="none")
    return DataLoader(
        dataset, batch_size=batch, sampler=sampler, num_workers=workers, collate_fn=collate, pin_memory=on_gpu
    )


def _bare(fabric: Fabric, loop: TrainingLoop, raw: Any, on_gpu: bool) -> float:
    """Seconds of a step that repeats one batch."""
    module, optimizer = loop._module, loop._optimizer
    batch = prepare(raw.to(fabric.device), module.detector.input_spec)
    images = batch.images.contiguous(memory_format=torch.channels_last) if on_gpu else batch.images

    def step() -> None:
        with fabric.autocast():
            loss = module.objective(module.detector(images), batch, TrainingStep(module.detector, 0, 0)).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        module.after_step()

    return _seconds(step, on_gpu)


def _seconds(call: Callable[[], None], on_gpu: bool) -> float:
    for _ in range(WARM_UP):
        call()
    _wait(on_gpu)
    start = time.perf_counter()
    for _ in range(STEPS):
        call()
    _wait(on_gpu)
    return (time.perf_counter() - start) / STEPS


def _loading(loader: Any, batch: int) -> float:
    """Images per second of loading without training, after the first batch."""
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    for _ in range(STEPS):
        next(batches)
    return batch * STEPS / (time.perf_counter() - start)
