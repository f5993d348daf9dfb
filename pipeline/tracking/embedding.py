"""Face embeddings that tell people apart: dlib's ResNet in torch, with the weights of `face_recognition_models`.

D. King,
"dlib_face_recognition_resnet_model_v1" (2017, public domain): embeddings of one person mostly differ by less than 0.6.
"""

import hashlib
import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.installed import package_folder
from facemill.errors import DetectorError

__all__ = ["embed"]

PACKAGE = "face_recognition_models"
FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
MEAN_RGB = (122.782, 117.001, 104.298)
LEVELS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
"""Channels and blocks of each level; all but the first one halve the map."""
EMBEDDING = 128


def embed(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings [N, 128] of aligned RGB faces [N, 150, 150, 3], compared by Euclidean distance.

    They are computed on the CPU one by one, so that their bytes do not depend on which others are computed with them.

    Raises:
        DetectorError: the weights are missing, or are not the expected ones.
    """
    network = _network()
    with torch.inference_mode():
        return torch.cat([network(chip[None]) for chip in torch.from_numpy(chips)]).numpy()


@lru_cache(maxsize=1)
def _network() -> "_ResNet":
    # The package is not imported, because it needs pkg_resources, which recent setuptools lack.
    path = package_folder(PACKAGE, "whose weights tell people apart") / FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DetectorError(
            f"The face embedding's weights {path} cannot be read ({error.strerror}): reinstall {PACKAGE}."
        ) from error
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DetectorError(
            f"The face embedding's weights {path} are damaged or of another version: reinstall {PACKAGE} 0.3.0."
        )
    return _ResNet(_Weights(data))


class _Weights:
    """Reads the tensors of dlib's file in the order in which they are used.

    A tensor is its format's version (2) and four sizes, each a count of bytes and these bytes, then little-endian
    floats. Whatever else is in the file is skipped.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def take(self, samples: int, channels: int = 1) -> Tensor:
        """The next tensor of these sizes [samples * channels]."""
        head = b"".join(
            bytes([size := math.ceil(value.bit_length() / 8)]) + value.to_bytes(size, "little")
            for value in (2, samples, channels, 1, 1)
        )
        start = self._data.index(head, self._position) + len(head)
        values = np.frombuffer(self._data, "<f4", samples * channels, start)
        self._position = start + values.nbytes
        return torch.from_numpy(values.astype(np.float32))


class _ResNet(nn.Module):
    """A ResNet with 29 convolutions."""

    def __init__(self, weights: _Weights) -> None:
        super().__init__()
        self.stem = _convolution(weights, 3, LEVELS[0][0], 7, stride=2, padding=0)
        blocks, before = [], LEVELS[0][0]
        for level, (channels, count) in enumerate(LEVELS):
            for number in range(count):
                blocks.append(_Block(weights, before, channels, halve=level > 0 and number == 0))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.projection = weights.take(before, EMBEDDING).view(before, EMBEDDING)

    def forward(self, chips: Tensor) -> Tensor:
        """[N, 150, 150, 3] of bytes -> [N, 128]."""
        x = (chips.float() - torch.tensor(MEAN_RGB)).permute(0, 3, 1, 2) / 256
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        projected: Tensor = self.blocks(x).mean(dim=(2, 3)) @ self.projection
        return projected


class _Block(nn.Module):
    """A residual block of two convolutions; its input is averaged over 2 x 2 pixels where it halves the map."""

    def __init__(self, weights: _Weights, before: int, channels: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = _convolution(weights, before, channels, 3, stride=1 + halve, padding=1 - halve)
        self.second = _convolution(weights, channels, channels, 3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        if self.halve:
            x = F.avg_pool2d(x, 2)
        # As in dlib, the smaller one is padded with zeros.
        size = np.maximum(x.shape, y.shape).tolist()
        x, y = (F.pad(z, (0, size[3] - z.shape[3], 0, size[2] - z.shape[2], 0, size[1] - z.shape[1])) for z in (x, y))
        return F.relu(x + y)


def _convolution(weights: _Weights, before: int, channels: int, side: int, *, stride: int, padding: int) -> nn.Conv2d:
    """A convolution whose weights include the affine layer after it."""
    kernel, bias = weights.take(channels * before * side**2 + channels).tensor_split([-channels])
    factor, summand = weights.take(2 * channels).chunk(2)
    layer = nn.Conv2d(before, channels, side, stride, padding).requires_grad_(False)
    layer.weight.copy_(kernel.view(channels, before, side, side) * factor[:, None, None, None])
    assert layer.bias is not None
    layer.bias.copy_(bias * factor + summand)
    return layer
