"""RetinaFace with a ResNet-50 backbone: the PyTorch network and weights of the `retina-face` package."""

import os
from pathlib import Path
from typing import ClassVar

import torch
from retinaface.commons.weight_utils import download_weights_if_necessary
from retinaface.model import retinaface_pth_model as package
from torch import Tensor

from facemill import DetectorError
from facemill.detectors.face.anchors import AnchorCoding, AnchorLevel, AnchorNetwork, AnchorOutputs
from facemill.detectors.face.weights import load_weights

__all__ = ["ResNet50RetinaFace", "load_resnet50"]

FILE = "retinaface.pth"
SHORT_SIDE, LONG_SIDE = 1024, 1980
"""The package resizes a frame's short side to the first, or its long side to the second if that is smaller."""


class ResNet50RetinaFace(AnchorNetwork):
    """The package's network with the outputs of all levels concatenated."""

    # The package's anchors are -248..263 and so on: their centres lie half a pixel before the cell's centre.
    coding: ClassVar = AnchorCoding(
        levels=(
            AnchorLevel(stride=32, sides=(512, 256), offset=7.5),
            AnchorLevel(stride=16, sides=(128, 64), offset=7.5),
            AnchorLevel(stride=8, sides=(32, 16), offset=7.5),
        ),
        centre_variance=1.0,
        size_variance=1.0,
        end_pixel=1.0,
    )

    def __init__(self, network: package.RetinaFace) -> None:
        super().__init__()
        self.network = network

    def resize_factor(self, height: int, width: int, *, enlarge: bool) -> float:
        # `enlarge` is the package's `allow_upscaling`.
        scale = SHORT_SIDE / min(height, width)
        if not enlarge:
            scale = min(1.0, scale)
        if round(scale * max(height, width)) > LONG_SIDE:
            scale = LONG_SIDE / max(height, width)
        return scale

    def forward(self, images: Tensor) -> AnchorOutputs:
        outputs = [output.float() for output in self.network(images.float())]  # [N, h, w, values] each
        count = len(images)
        # The package's channels are: background probability of both anchors, then face probability of both.
        scores = torch.cat([output[..., 2:].reshape(count, -1) for output in outputs[0::3]], dim=1)
        boxes = torch.cat([output.reshape(count, -1, 4) for output in outputs[1::3]], dim=1)
        landmarks = torch.cat([output.reshape(count, -1, 10) for output in outputs[2::3]], dim=1)
        maps = [(output.shape[1], output.shape[2]) for output in outputs[0::3]]
        return AnchorOutputs(scores, boxes, landmarks, maps)


def load_resnet50(path: Path | None) -> ResNet50RetinaFace:
    """Build the network with weights from a file, by default the one that the package caches or downloads.

    Raises:
        DetectorError: if the file is missing and cannot be downloaded, or is damaged.
    """
    with torch.device("meta"):  # initialising 27 million weights that are then overwritten would take seconds
        network = package.RetinaFace()
    load_weights(network, path or _package_weights())
    return ResNet50RetinaFace(network)


def _package_weights() -> Path:
    try:
        return Path(download_weights_if_necessary(file_name=FILE, source_urls=package.WEIGHTS_URLS))
    except (ValueError, OSError):
        folder = Path(os.environ.get("DEEPFACE_HOME", Path.home())) / ".deepface" / "weights"
        raise DetectorError(
            "RetinaFace with ResNet-50 needs its weights, which could not be downloaded: get "
            f"{package.WEIGHTS_URLS[0]} and put it at {folder / FILE}, or give its path with --set detect.weights=PATH."
        ) from None
