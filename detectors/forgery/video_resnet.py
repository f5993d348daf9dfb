"""A baseline of clips: the 3-D networks of torchvision."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torchvision.models import video

from facemill.detectors.forgery.base import ClipOptions, ForgeryDetector, ForgeryOutput, InputSpec, Level, Side, Spread
from facemill.detectors.forgery.precision import without_autocast
from facemill.detectors.weights import read_tensors
from facemill.errors import DetectorError

__all__ = ["VideoResNet", "VideoResNetOptions"]


class VideoResNetOptions(ClipOptions):
    """Options of `VideoResNet`."""

    size: Side = 112
    network: Literal["r3d_18", "mc3_18", "r2plus1d_18"] = "r3d_18"
    """3-D convolutions in all layers, in the first ones, or each as one in space and one in time."""
    weights: Path | None = None
    """Initialise the network from this weights file (a state dict of torchvision's network)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the pooled features."""
    mean: tuple[Level, Level, Level] = (0.43216, 0.394666, 0.37645)
    """Mean of each channel that is subtracted from the input, for values in 0..1; by default that of Kinetics-400, on
    which torchvision's weights were trained."""
    std: tuple[Spread, Spread, Spread] = (0.22803, 0.22145, 0.216989)
    """Standard deviation that each channel of the input is divided by; by default as for `mean`."""


class VideoResNet(ForgeryDetector):
    """ResNet-18 with 3-D convolutions (Tran et al., CVPR 2018), global average pooling, linear layer to one logit.

    Raises:
        DetectorError: the weights file is missing, damaged or of another network.
    """

    options_type = VideoResNetOptions
    options: VideoResNetOptions

    def __init__(self, options: VideoResNetOptions) -> None:
        super().__init__(options)
        self.input_spec = InputSpec(options.size, options.mean, options.std, options.clip)
        network = getattr(video, options.network)(weights=None)
        width = network.fc.in_features
        network.fc = nn.Identity()
        if options.weights is not None:
            _load(network, options.weights, options.network)
        self.stages = nn.Sequential(network.stem, network.layer1, network.layer2, network.layer3, network.layer4)
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(width, 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.stages[-1]

    def forward(self, images: Tensor) -> ForgeryOutput:
        features = self.stages(images.transpose(1, 2))  # [B, C, t, h, w]
        with without_autocast(images):  # bf16 leaves a few hundred different log-odds
            return ForgeryOutput(self.classifier(self.dropout(features.float().mean((2, 3, 4))))[:, 0])


def _load(network: nn.Module, path: Path, name: str) -> None:
    try:
        state = {key: value for key, value in read_tensors(path).items() if not key.startswith("fc.")}
        network.load_state_dict(state)
    except FileNotFoundError:
        raise DetectorError(f"There is no weights file {path}: put torchvision's weights of {name} there.") from None
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise DetectorError(f"The weights file {path} is not one of torchvision's {name} ({why}).") from None
