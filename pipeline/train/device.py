"""Number of training processes and of data-loading workers."""

import os

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from facemill import ConfigError

__all__ = ["count_processes", "default_workers"]

MAX_WORKERS = 8


def default_workers(devices: int) -> int:
    """Default number of data-loading workers per device: the cores divided among the devices, 1 to 8."""
    return min(MAX_WORKERS, max(1, len(os.sched_getaffinity(0)) // devices))


def count_processes(devices: int | None, *, on_gpu: bool) -> tuple[int, int]:
    """Number of nodes, and of training processes on each; as started by torchrun or srun, if one was used.

    Args:
        devices: requested processes per node; None for all GPUs, or one process on a CPU.

    Raises:
        ConfigError: if a launcher has started a different number of processes than requested.
    """
    nodes, started = _launched()
    if started is None:
        return 1, devices or (torch.cuda.device_count() if on_gpu else 1)
    if devices not in (None, started):
        raise ConfigError(
            f"The launcher has started {started} processes on each node, not {devices}: use --devices {started}, or "
            "leave it out."
        )
    return nodes, started


def _launched() -> tuple[int, int | None]:
    """Nodes, and processes per node started by torchrun or srun; None without a launcher, or for a single process."""
    environment = os.environ
    if TorchElasticEnvironment.detect():
        each = int(environment["LOCAL_WORLD_SIZE"])
        return int(environment["WORLD_SIZE"]) // each, each
    if SLURMEnvironment.detect() and (tasks := int(environment["SLURM_NTASKS"])) > 1:
        nodes = int(environment["SLURM_NNODES"])
        return nodes, tasks // nodes
    return 1, None
