"""Where float32 is needed even in mixed precision."""

import torch
from torch import Tensor

__all__ = ["without_autocast"]


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which what is computed from the tensor, made `.float()`, stays in float32."""
    # Tensors without data ("meta") have no mixed precision to turn off, and torch refuses to try.
    return torch.autocast("cpu" if tensor.is_meta else tensor.device.type, enabled=False)
