"""Grad-CAM: which cells of a feature map speak for "fake"."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from facemill.detectors.forgery.base import ForgeryDetector

__all__ = ["grad_cam"]


def grad_cam(detector: ForgeryDetector, images: Tensor) -> Tensor:
    """Heat maps of a detector's evidence for fake, in eval mode (Selvaraju et al., ICCV 2017, Eqs. 1-2).

    The channels of `detector.cam_layer`'s output are weighted by the mean gradient of the log-odds and
    summed; what speaks for real (below 0) is cut off.

    Args:
        images: [B, 3, H, W], normalised as `detector.input_spec` says, on the detector's device.

    Returns:
        float32 [B, h, w] of the layer's h x w cells, each image's largest value 1; all 0 where nothing
        speaks for fake.
    """
    kept: list[Tensor] = []
    handle = detector.cam_layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    try:
        # With an input that wants gradients the map has some even where all parameters are frozen.
        with _eval_mode(detector), torch.enable_grad():
            logit = detector(images.detach().requires_grad_()).logit
            (gradient,) = torch.autograd.grad(logit.sum(), kept[-1])  # images do not meet: the sum parts again
    finally:
        handle.remove()
    features, gradient = kept[-1].detach().float(), gradient.float()  # [B, C, h, w]
    weights = gradient.mean((2, 3), keepdim=True)
    maps = (weights * features).sum(1).relu()
    peak = maps.amax((1, 2), keepdim=True)
    return torch.where(peak > 0, maps / peak, torch.zeros_like(maps))


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every part is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
