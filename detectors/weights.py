"""Reading of weights files that may be damaged or malicious: no code is run, only dense tensors are loaded."""

import pickle
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from facemill import DetectorError

__all__ = ["read_tensors", "reason_of"]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict onto the CPU: safetensors if the suffix says so, otherwise a `torch.save` file.

    The file may also hold a dict whose `state_dict` it is, as training scripts save it.

    Raises:
        DetectorError: if the file cannot be read, or holds anything but named dense tensors of finite numbers.
        FileNotFoundError: if the file is missing.
    """
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise DetectorError(f"{path} cannot be read as weights (it is not a regular file): give another file.")
    try:
        with warnings.catch_warnings(action="ignore"):  # sparse tensors are refused below, with a clearer message
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (RuntimeError, ValueError, LookupError, EOFError, OSError, SafetensorError, pickle.UnpicklingError) as error:
        raise DetectorError(f"{path} cannot be read as weights ({reason_of(error)}): fetch it again.") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise DetectorError(f"{path} holds no state dict: give a file that `torch.save(network.state_dict())` wrote.")
    for key, value in state.items():
        if fault := _fault(key, value):
            raise DetectorError(f"{path} is not a file of network weights ({key!r} {fault}): give another file.")
    return state


def reason_of(error: Exception) -> str:
    """Short reason why a file cannot be read; torch's advice to load it with `weights_only=False` is left out."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors"
    if isinstance(error, LookupError | EOFError):  # opcodes of text, taken for a pickle's
        return "it is not a file of tensors"
    words = " ".join(str(error).split()).split(". ")[0] or type(error).__name__
    return words if len(words) <= 200 else f"{words[:200]}..."


def _fault(key: object, value: object) -> str | None:
    if not isinstance(key, str):
        return "is not a name"
    if not isinstance(value, Tensor):
        return "is not a tensor"
    if value.layout is not torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
        return "is not a dense tensor of real numbers"
    if value.is_floating_point() and not value.float().isfinite().all():
        return "is not finite"
    return None
