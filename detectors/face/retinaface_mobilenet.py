"""RetinaFace with a MobileNet-0.25 backbone, in the layout of the widely used `mobilenet0.25_Final.pth`.

Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild" (2019). Module names and
indices are those of the weights file.
"""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill import DetectorError
from facemill.detectors.face.anchors import AnchorCoding, AnchorLevel, AnchorNetwork, AnchorOutputs
from facemill.detectors.face.weights import load_weights

__all__ = ["MobileNetRetinaFace", "load_mobilenet"]

FILE = "mobilenet0.25_Final.pth"
SHA256 = "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220"
MEAN_BGR = (104.0, 117.0, 123.0)
SLOPE = 0.1
CHANNELS = 64


class MobileNetRetinaFace(AnchorNetwork):
    """MobileNetV1 (width 0.25), a feature pyramid, and a context module and three heads per level."""

    coding: ClassVar = AnchorCoding(
        levels=(
            AnchorLevel(stride=8, sides=(16, 32), offset=4.0),
            AnchorLevel(stride=16, sides=(64, 128), offset=8.0),
            AnchorLevel(stride=32, sides=(256, 512), offset=16.0),
        ),
        centre_variance=0.1,
        size_variance=0.2,
        end_pixel=0.0,
    )

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict(
            {
                "stage1": nn.Sequential(
                    _conv(3, 8, 3, stride=2, activation=True),
                    _depthwise(8, 16),
                    _depthwise(16, 32, stride=2),
                    _depthwise(32, 32),
                    _depthwise(32, 64, stride=2),
                    _depthwise(64, 64),
                ),
                "stage2": nn.Sequential(_depthwise(64, 128, stride=2), *(_depthwise(128, 128) for _ in range(5))),
                "stage3": nn.Sequential(_depthwise(128, 256, stride=2), _depthwise(256, 256)),
            }
        )
        self.fpn = FeaturePyramid((64, 128, 256))
        self.ssh1, self.ssh2, self.ssh3 = ContextModule(), ContextModule(), ContextModule()
        self.ClassHead = _heads(values=2)
        self.BboxHead = _heads(values=4)
        self.LandmarkHead = _heads(values=10)

    def resize_factor(self, height: int, width: int, *, enlarge: bool) -> float:
        return 1.0

    def forward(self, images: Tensor) -> AnchorOutputs:
        x = (images.flip(3).float() - images.new_tensor(MEAN_BGR, dtype=torch.float32)).permute(0, 3, 1, 2)
        stages = []
        for stage in self.body.values():
            x = stage(x)
            stages.append(x)
        pyramid = self.fpn(stages)
        levels = [ssh(level) for ssh, level in zip((self.ssh1, self.ssh2, self.ssh3), pyramid, strict=True)]
        logits, boxes, landmarks = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1).float()
            for heads in (self.ClassHead, self.BboxHead, self.LandmarkHead)
        )
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        return AnchorOutputs(logits.softmax(dim=2)[..., 1], boxes, landmarks, sizes)


class FeaturePyramid(nn.Module):
    """Three feature maps of equal width, each with the upsampled coarser one added."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(width, CHANNELS, 1, activation=True) for width in widths)
        self.merge1 = _conv(CHANNELS, CHANNELS, 3, activation=True)
        self.merge2 = _conv(CHANNELS, CHANNELS, 3, activation=True)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = self.output1(stages[0]), self.output2(stages[1]), self.output3(stages[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return [fine, middle, coarse]


class ContextModule(nn.Module):
    """SSH: parallel branches of one, two and three 3x3 convolutions, for a larger receptive field."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = CHANNELS // 2, CHANNELS // 4
        self.conv3X3 = _conv(CHANNELS, half, 3, activation=False)
        self.conv5X5_1 = _conv(CHANNELS, quarter, 3, activation=True)
        self.conv5X5_2 = _conv(quarter, quarter, 3, activation=False)
        self.conv7X7_2 = _conv(quarter, quarter, 3, activation=True)
        self.conv7x7_3 = _conv(quarter, quarter, 3, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.conv5X5_1(x)
        wide = self.conv7x7_3(self.conv7X7_2(middle))
        return torch.cat([self.conv3X3(x), self.conv5X5_2(middle), wide], dim=1).relu()


class Head(nn.Module):
    """A 1x1 convolution that gives `values` numbers for each of a cell's two anchors."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(CHANNELS, 2 * values, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [N, C, h, w] to [N, h * w * 2, values]."""
        return torch.as_tensor(self.conv1x1(x)).permute(0, 2, 3, 1).reshape(len(x), -1, self.values)


def load_mobilenet(path: Path | None) -> MobileNetRetinaFace:
    """Build the network with weights from a file, by default from torch's checkpoint cache.

    Raises:
        DetectorError: if the file is missing or damaged.
    """
    default = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if path is None and not default.is_file():
        raise DetectorError(
            f"RetinaFace with MobileNet-0.25 needs its weights: get {FILE} from a Pytorch_Retinaface repository "
            f"and put it at {default}, or give its path with --set detect.weights=PATH."
        )
    with torch.device("meta"):
        network = MobileNetRetinaFace()
    load_weights(network, path or default, sha256=SHA256, published_as=FILE)
    return network


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, activation: bool) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.LeakyReLU(SLOPE)] if activation else []))


def _depthwise(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(SLOPE),
    )


def _heads(values: int) -> nn.ModuleList:
    return nn.ModuleList(Head(values) for _ in range(3))
