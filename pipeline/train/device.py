"""Training processes: their number, and their start with Fabric."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.plugins.precision import MixedPrecision
from torch import distributed, nn

from facemill import ConfigError
from facemill.detectors.device import resolve_device

__all__ = ["channels_last", "count_processes", "is_mixed", "launched", "uses_gpu"]

LEAVING_S = 5
INTERACTIVE = ("bash", "interactive")  # names of Slurm jobs that are a shell: `srun --pty bash`


def channels_last(module: nn.Module) -> None:
    """Put weights of 2-D convolutions into channels-last layout, which tensor cores prefer; those of 3-D ones stay."""
    for tensor in module.parameters():
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def count_processes(devices: int | None, *, on_gpu: bool) -> tuple[int, int]:
    """Number of nodes, and of training processes on each; as started by torchrun or srun, if one was used.

    Args:
        devices: requested processes per node; None for all GPUs, or one process on a CPU.

    Raises:
        ConfigError: if a launcher has started a different number of processes than requested.
    """
    nodes, started = _started()
    if started is None:
        return 1, devices or (torch.cuda.device_count() if on_gpu else 1)
    if devices not in (None, started):
        raise ConfigError(
            f"The launcher has started {started} processes on each node, not {devices}: use --devices {started}, or "
            "leave it out."
        )
    return nodes, started


def _started() -> tuple[int, int | None]:
    """Nodes, and processes per node started by torchrun or srun; None without a launcher, or for a single process."""
    environment = os.environ
    if TorchElasticEnvironment.detect():
        each = int(environment["LOCAL_WORLD_SIZE"])
        return int(environment["WORLD_SIZE"]) // each, each
    # A batch script has the number of its job's tasks, too: only srun starts them, as a step of the job.
    started = "SLURM_STEP_ID" in environment and environment.get("SLURM_JOB_NAME") not in INTERACTIVE
    if started and (tasks := int(environment["SLURM_NTASKS"])) > 1:
        nodes = int(environment["SLURM_NNODES"])
        return nodes, tasks // nodes
    return 1, None


def uses_gpu(device: str) -> bool:
    """Whether to train on GPUs.

    Raises:
        ConfigError: if there is no such device, or it is one of several GPUs.
    """
    chosen = resolve_device(device)
    if chosen.index is not None:
        raise ConfigError(
            f"Training cannot select a GPU by its index: use --device cuda with CUDA_VISIBLE_DEVICES={chosen.index}."
        )
    return chosen.type == "cuda"


def is_mixed(precision: str, *, on_gpu: bool) -> bool:
    """Whether `TrainSettings.precision` means bf16 on this device."""
    return precision == "bf16" or (precision == "auto" and on_gpu)


@contextmanager
def launched(*, on_gpu: bool, nodes: int, processes: int, mixed: bool) -> Iterator[Fabric]:
    """Start the other processes of this node, unless a launcher has; they are killed if this one fails.

    Args:
        mixed: bf16 with weights in float32, instead of float32.
    """
    for name in ("lightning.fabric", "lightning.pytorch"):  # Fabric writes some of its messages to the second
        logging.getLogger(name).setLevel(logging.WARNING)
    accelerator = "cuda" if on_gpu else "cpu"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")  # advice on settings, which are intended as they are
        # Without a launcher, Fabric must not take one of its own guesses: it would wait for processes of a Slurm job.
        plugins: list[object] = [] if _started()[1] else [LightningEnvironment()]
        fabric = Fabric(
            accelerator=accelerator,
            num_nodes=nodes,
            devices=processes,
            strategy="ddp" if nodes * processes > 1 else "auto",
            plugins=[*plugins, *([_Bf16("bf16-mixed", accelerator)] if mixed else [])],
        )
        fabric.launch()
        try:
            yield fabric
        except BaseException:
            for process in getattr(fabric.strategy.launcher, "procs", ()):
                process.kill()
            # Other ranks may be in the middle of an exchange, for whose end leaving waits.
            leaving = Thread(target=_leave_group, daemon=True)
            leaving.start()
            leaving.join(LEAVING_S)
            raise
        _leave_group()


def _leave_group() -> None:
    """End the exchange between ranks; or gloo, freeing a tensor while the interpreter ends, aborts the process."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class _Bf16(MixedPrecision):  # type: ignore[misc]  # it has no types
    def forward_context(self) -> torch.autocast:
        # With a cache of converted weights, the gradients of a weight that is used twice are added up in bf16.
        return torch.autocast(self.device, dtype=torch.bfloat16, cache_enabled=False)
