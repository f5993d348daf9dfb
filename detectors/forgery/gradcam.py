"""Grad-CAM: which cells of a feature map are evidence for "fake"."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.base import ForgeryDetector

__all__ = ["explanations", "grad_cam"]


def explanations(detector: ForgeryDetector, images: Tensor) -> dict[str, Tensor]:
    """All maps of a detector by name: Grad-CAM, and its own (see `ForgeryDetector.explain`).

    Each is [B, h, w], of clips [B, T, h, w].

    Args:
        detector: in eval mode.
        images: [B, 3, H, W], normalised as `detector.input_spec` says, on the detector's device.
    """
    with torch.no_grad():
        own = detector.explain(images)
    return {"Grad-CAM": grad_cam(detector, images), **own}


def grad_cam(detector: ForgeryDetector, images: Tensor) -> Tensor:
    """Compute heat maps of a detector's evidence for fake, in eval mode (Selvaraju et al., ICCV 2017, Eqs. 1-2).

    The channels of `detector.cam_layer`'s output are weighted by the mean gradient of the log-odds and
    summed; evidence for real (below 0) is set to 0.

    Args:
        images: [B, 3, H, W], normalised as `detector.input_spec` says, on the detector's device.

    Of clips [B, T, 3, H, W], each frame has a map, interpolated if the layer has fewer steps than frames.

    Returns:
        float32 [B, h, w], of clips [B, T, h, w], of the layer's h x w cells, with a maximum of 1 in each sample; all 0
        if there is no evidence for fake.
    """
    kept: list[Tensor] = []
    handle = detector.cam_layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    try:
        # An input that requires gradients gives the map a gradient even if all parameters are frozen.
        with _eval_mode(detector), torch.enable_grad():
            logit = detector(images.detach().requires_grad_()).logit
            (gradient,) = torch.autograd.grad(logit.sum(), kept[-1])  # images are independent
    finally:
        handle.remove()
    features, gradient = (detector.cam_map(values.detach().float()) for values in (kept[-1], gradient))
    weights = gradient.mean(tuple(range(2, gradient.ndim)), keepdim=True)
    maps = (weights * features).sum(1).relu()
    if (clip := detector.input_spec.clip) is not None:
        steps = maps.reshape(len(images), 1, -1, *maps.shape[-2:])
        maps = F.interpolate(steps, (clip, *maps.shape[-2:]), mode="trilinear")[:, 0]
    peak = maps.amax(tuple(range(1, maps.ndim)), keepdim=True)
    return torch.where(peak > 0, maps / peak, torch.zeros_like(maps))


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Set eval mode inside the context, and restore each submodule's mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
