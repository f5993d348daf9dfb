"""Where a forgery detector runs."""

import os

import torch

from facemill import ConfigError

__all__ = ["choose_device", "count_readers"]

MOST_READERS = 8


def count_readers(devices: int) -> int:
    """Processes that read data for each device, where nobody has said: the cores, shared out, up to eight."""
    return min(MOST_READERS, max(1, len(os.sched_getaffinity(0)) // devices))


def choose_device(name: str) -> torch.device:
    """`auto` (a GPU where there is one), `cpu` or `cuda` as a device.

    Raises:
        ConfigError: for another name, or a GPU that is not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"There is no device {name!r} for detectors: say auto, cpu or cuda.")
    on_gpu = torch.cuda.is_available()
    if name == "cuda" and not on_gpu:
        raise ConfigError("There is no GPU here: say --device cpu.")
    return torch.device("cuda" if on_gpu and name != "cpu" else "cpu")
