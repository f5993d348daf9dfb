"""Sharpness-aware minimisation (Foret et al., ICLR 2021)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["at_the_worst"]


@contextmanager
@torch.no_grad()
def at_the_worst(module: nn.Module, radius: float) -> Iterator[None]:
    """Move the weights to where the loss is about highest within a radius, for gradients to be computed there (Eq. 2).

    On exit the weights are what they were and have the gradients of the worst place, for the optimiser's step. So have
    buffers, such as norm statistics: what is computed in between must not count twice.

    Args:
        module: whose weights have gradients, which are cleared.
        radius: L2 distance over all weights together (the paper's rho).
    """
    weights = [weight for weight in module.parameters() if weight.grad is not None]
    before = [weight.detach().clone() for weight in weights]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.add_(gradient * (radius / (norm + 1e-12)))
        weight.grad = None
    with torch.enable_grad():
        yield
    for weight, old in zip(weights, before, strict=True):
        weight.copy_(old)
    for buffer, kept in buffers:
        buffer.copy_(kept)
