"""How many processes train and read."""

import os

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from facemill import ConfigError

__all__ = ["count_processes", "count_readers"]

MOST_READERS = 8


def count_readers(devices: int) -> int:
    """Processes that read data for each device, where nobody has said: the cores, shared out, up to eight."""
    return min(MOST_READERS, max(1, len(os.sched_getaffinity(0)) // devices))


def count_processes(devices: int | None, *, on_gpu: bool) -> tuple[int, int]:
    """How many nodes train, and in how many processes each: as torchrun or srun has started them, if one has.

    Args:
        devices: what was asked for, on a node; None for all GPUs, or one process on a CPU.

    Raises:
        ConfigError: where a launcher has started another number of processes than was asked for.
    """
    nodes, started = _launched()
    if started is None:
        return 1, devices or (torch.cuda.device_count() if on_gpu else 1)
    if devices not in (None, started):
        raise ConfigError(
            f"The launcher has started {started} processes on each node, not {devices}: say --devices {started}, or "
            "leave it out."
        )
    return nodes, started


def _launched() -> tuple[int, int | None]:
    """Nodes, and the processes on each that torchrun or srun has started; None for neither, or one process alone."""
    environment = os.environ
    if TorchElasticEnvironment.detect():
        each = int(environment["LOCAL_WORLD_SIZE"])
        return int(environment["WORLD_SIZE"]) // each, each
    if SLURMEnvironment.detect() and (tasks := int(environment["SLURM_NTASKS"])) > 1:
        nodes = int(environment["SLURM_NNODES"])
        return nodes, tasks // nodes
    return 1, None
