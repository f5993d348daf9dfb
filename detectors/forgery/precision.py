"""Float32 computation inside mixed precision."""

import torch
from torch import Tensor

__all__ = ["without_autocast"]


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Return a context without autocast on the tensor's device, for computing in float32 on `tensor.float()`."""
    # torch.autocast does not support the "meta" device.
    return torch.autocast("cpu" if tensor.is_meta else tensor.device.type, enabled=False)
