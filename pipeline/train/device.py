"""Where a forgery detector runs."""

import torch

from facemill import ConfigError

__all__ = ["choose_device"]


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
