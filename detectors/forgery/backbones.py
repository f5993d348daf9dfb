"""timm's networks, whole, and as a list of stages, so that detectors can read intermediate maps and insert modules.

Three families come as stages: EfficientNets (including MobileNets and TinyNets), ResNets, and Xception. timm's
`features_only` is not used: it returns maps, not stages.
"""

import sys
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import adapt_input_conv
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet
from timm.models.xception import Xception
from torch import Tensor, nn

from facemill import ConfigError, DetectorError
from facemill.detectors.forgery.base import IMAGENET_MEAN, IMAGENET_STD, RGB
from facemill.detectors.weights import read_tensors, reason_of

__all__ = ["Backbone", "Stages", "create_backbone", "create_network", "input_statistics"]

Shape = tuple[tuple[int, ...], tuple[int, ...]]  # channels and strides after each stage
_measured: dict[tuple[str, bool, int | None], Shape] = {}  # by name, max-pooling, and width: a detector may have two
_PROBE = 64  # side of the dummy image that strides are measured with; divisible by every network's stride


class Backbone(nn.Module):
    """A network without its classifier, as stages that run one after another.

    EfficientNets: stage 0 is the stem, stages 1 to 7 (5 for MobileNetV1) the blocks, and the last the 1x1
    head if there is one. ResNets: stage 0 is the stem (optionally without max-pooling), 1 to 4 the
    layers. Xception: stage 0 is the two entry convolutions, 1 to 12 the blocks, 13 the two exit convolutions.

    Attributes:
        stages: the stages, each [B, C_i, h, w] -> [B, C_j, h', w'].
        channels: channels after each stage.
        strides: input pixels per cell after each stage.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, stages: list[nn.Module], shape: Shape | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels, self.strides = shape or _measure(stages)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to the last stage's output."""
        for stage in self.stages:
            images = stage(images)
        return images

    def taps(self, images: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
        """Return the maps after the wanted stages, in stage order; later stages are not run."""
        maps = []
        for index in range(max(wanted) + 1):
            images = self.stages[index](images)
            if index in wanted:
                maps.append(images)
        return maps

    def part(self, begin: int, end: int) -> "Stages":
        """The stages from `begin` to before `end`, as one module that shares their weights."""
        part = Stages(*self.stages[begin:end])
        part.first = begin
        return part

    def last_at(self, stride: int) -> int:
        """Index of the last stage with that stride.

        Raises:
            ConfigError: if the network has no such stage.
        """
        if stride not in self.strides:
            raise ConfigError(f"This backbone has no stage of stride {stride}: its strides are {self.strides}.")
        return len(self.strides) - 1 - self.strides[::-1].index(stride)


class Stages(nn.Sequential):
    """Consecutive stages of a `Backbone`.

    Attributes:
        first: index in the backbone of the first of them.
    """

    first: int


def input_statistics(name: str) -> tuple[RGB, RGB]:
    """Mean and standard deviation (of values in 0..1) that a timm network's weights were trained with.

    ImageNet's for a name or tag that timm does not know.
    """
    try:
        found = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag; `create_backbone` refuses it
        found = None
    return (found.mean, found.std) if found else (IMAGENET_MEAN, IMAGENET_STD)


def create_backbone(
    name: str,
    *,
    pretrained: bool = False,
    weights: Path | None = None,
    in_channels: int = 3,
    max_pool: bool = True,
    width: int | None = None,
) -> Backbone:
    """Create a backbone from a timm network.

    Args:
        name: timm's model name, with the tag of its weights if pretrained: `resnet18.tv_in1k`. Without a tag timm
            uses its default weights, which for some EfficientNets were trained on more than ImageNet.
        pretrained: load timm's weights of that name, which timm downloads and caches.
        weights: weights file to load instead: a state dict of the timm network, as safetensors or from
            `torch.save`; its classifier is ignored.
        in_channels: of the input; pretrained weights of the stem are summed (1), or repeated and divided by how often.
        max_pool: whether a ResNet's stem ends with max-pooling.
        width: for a ResNet, channels of its first layer's convolutions, doubled in each further layer; None for
            the network's own.

    Raises:
        ConfigError: if timm does not know the name or tag, the family is not supported, or has no `width`.
        DetectorError: if weights are missing, damaged, or of another network.
    """
    shape = {} if width is None else {"channels": tuple(width * 2**layer for layer in range(4))}
    try:
        # timm adapts its pretrained stem to the number of channels.
        network = create_network(name, pretrained=pretrained, weights=weights, in_chans=in_channels, **shape)
    except TypeError:
        if width is None:
            raise
        raise ConfigError(f"The network {name} has no width to choose: leave the width out, or use a ResNet.") from None
    stages, key = _stages(network, name, max_pool=max_pool), (name, max_pool, width)
    backbone = Backbone(stages, _measured.get(key))
    _measured[key] = (backbone.channels, backbone.strides)
    return backbone


def check_name(name: str) -> None:
    """Reject a name or tag of weights that timm does not know.

    Raises:
        ConfigError: the message suggests others.
    """
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name}*")[:5]) or "such as tf_efficientnet_b4.aa_in1k or resnet34.tv_in1k"
        raise ConfigError(f"timm has no network {name!r}: choose another backbone ({close}).")
    network_name, _, tag = name.partition(".")
    if tag and not timm.list_pretrained(name):
        tags = ", ".join(timm.list_pretrained(f"{network_name}.*")[:5]) or network_name
        raise ConfigError(f"timm has no weights {tag!r} of {network_name}: choose others ({tags}).")


def create_network(name: str, *, pretrained: bool, weights: Path | None, **shape: Any) -> nn.Module:
    """Create a network of timm, with its weights of that name, those of a file, or random ones.

    Args:
        shape: arguments of the network.

    Raises:
        ConfigError: if timm does not know the name or tag.
        DetectorError: if weights are missing, damaged, or of another network.
        TypeError: if the network does not take these arguments.
    """
    check_name(name)
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained and weights is None, **shape)
    except OSError as error:
        raise DetectorError(
            f"The weights of {name} could not be downloaded ({type(error).__name__}): "
            "give a file with the option weights=FILE, or set pretrained=false to start from random weights."
        ) from None
    if weights is not None:
        _load(network, weights, name)
    return network


def _stages(network: nn.Module, name: str, *, max_pool: bool) -> list[nn.Module]:
    if isinstance(network, EfficientNet):
        stem = nn.Sequential(network.conv_stem, network.bn1)  # timm's norm layers here include the activation
        head = [] if isinstance(network.conv_head, nn.Identity) else [nn.Sequential(network.conv_head, network.bn2)]
        return [stem, *network.blocks, *head]
    if isinstance(network, ResNet):
        stem = nn.Sequential(network.conv1, network.bn1, network.act1)
        if max_pool:
            stem.append(network.maxpool)
        return [stem, network.layer1, network.layer2, network.layer3, network.layer4]
    if isinstance(network, Xception):
        entry = nn.Sequential(network.conv1, network.bn1, network.act1, network.conv2, network.bn2, network.act2)
        blocks = [getattr(network, f"block{index}") for index in range(1, 13)]
        exit_flow = nn.Sequential(network.conv3, network.bn3, network.act3, network.conv4, network.bn4, network.act4)
        return [entry, *blocks, exit_flow]
    raise ConfigError(
        f"The network {name} is of no supported family: choose an EfficientNet, MobileNetV1 or V2, ResNet or Xception."
    )


def _measure(stages: list[nn.Module]) -> Shape:
    """Measure channels and strides by running a small dummy image: faster than on the meta device."""
    channels, strides = [], []
    first = next(stages[0].parameters())
    modules = [(stage, stage.training) for stage in stages]
    with torch.no_grad():
        x = first.new_zeros(1, first.shape[1], _PROBE, _PROBE)
        for stage, training in modules:
            x = stage.eval()(x)
            stage.train(training)
            channels.append(x.shape[1])
            strides.append(_PROBE // x.shape[2])
    return tuple(channels), tuple(strides)


def _load(network: Any, path: Path, name: str) -> None:
    try:
        state = read_tensors(path)
    except FileNotFoundError:
        raise DetectorError(f"There is no weights file {path}: put the weights of timm's {name} there.") from None
    names = network.pretrained_cfg["classifier"]  # a name, or those of two heads
    classifier = tuple(f"{part}." for part in ([names] if isinstance(names, str) else names))
    state = {key: value for key, value in state.items() if not key.startswith(classifier)}
    stem, own = next(network.named_parameters())
    if stem in state and state[stem].shape[1] == 3:  # of a network on colour images
        state[stem] = adapt_input_conv(own.shape[1], state[stem])
    # What timm does with released weights of some families: positions, for one, are resized to the network's size.
    remap = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        missing, unexpected = network.load_state_dict(remap(state, network) if remap else state, strict=False)
    except (RuntimeError, LookupError, ValueError) as error:
        raise DetectorError(
            f"The weights file {path} does not fit timm's {name} ({reason_of(error)}): give weights of this network."
        ) from None
    missing = [key for key in missing if not key.startswith(classifier)]
    if missing or unexpected:
        raise DetectorError(
            f"The weights file {path} is not one of timm's {name}: it lacks {missing[:3]} and has {unexpected[:3]} too."
        )
