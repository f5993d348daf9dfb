"""Any network of timm with a linear classifier: whole, as a linear probe, or with low-rank adapters."""

from functools import cache
from math import isqrt
from typing import Annotated, Any, Literal, Self

import timm
import torch
from pydantic import Field, create_model
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from facemill import ConfigError
from facemill.detectors.forgery.backbones import check_name, create_network
from facemill.detectors.forgery.base import ForgeryDetector, ForgeryOutput, Side
from facemill.detectors.forgery.plain import PlainOptions
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["TimmNetwork", "TimmOptions", "timm_network"]


class TimmOptions(PlainOptions):
    """Options of `TimmNetwork`."""

    pretrained: bool = True
    tuning: Literal["full", "probe", "lora"] = "full"
    """Train all weights, the classifier alone (a linear probe), or the classifier and low-rank changes of the linear
    layers."""
    rank: Annotated[int, Field(gt=0, le=1024)] = 8
    """Rank of these changes."""


class TimmNetwork(ForgeryDetector):
    """A network of timm up to its own pooled features, dropout, linear layer to one logit.

    Size, mean and standard deviation of the input are by default those of the network's weights. Frozen weights go with
    frozen statistics: the network stays in eval mode unless all of it is trained.
    """

    options_type = TimmOptions
    options: TimmOptions

    def __init__(self, options: TimmOptions) -> None:
        super().__init__(options)
        name = options.backbone
        network = _create(options)
        if options.tuning != "full":
            network.requires_grad_(False)
        if options.tuning == "lora":
            _adapt(network, options)
        self.features = _Features(network)
        self.dropout = nn.Dropout(options.dropout)
        if not getattr(network, "head_hidden_size", 0):
            raise ConfigError(f"timm does not say how many features {name} has: choose another network.")
        self.classifier = nn.Linear(network.head_hidden_size, 1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.options.tuning != "full":
            self.features.eval()
        return self

    @property
    def cam_layer(self) -> nn.Module:
        network = self.features.network
        if getattr(network, "global_pool", "") == "token" and hasattr(network, "blocks"):
            # The class token alone is classified: after the last block, no other has a gradient.
            last: nn.Module = network.blocks[-1].norm1
            return last
        return self.features

    def cam_map(self, output: Tensor) -> Tensor:
        if output.ndim == 3:  # tokens [B, N, C], those of no place first
            side = isqrt(output.shape[1])
            cells = output[:, output.shape[1] - side**2 :]
            return cells.mT.reshape(len(output), -1, side, side)
        if getattr(self.features.network, "output_fmt", "NCHW") == "NHWC":
            return output.permute(0, 3, 1, 2)
        return output

    def forward(self, images: Tensor) -> ForgeryOutput:
        pooled = self.features.pool(self.features(images))
        with without_autocast(images):
            return ForgeryOutput(self.classifier(self.dropout(pooled.float()))[:, 0])


@cache
def timm_network(name: str) -> type[TimmNetwork]:
    """The detector of a network of timm, whose options have that network's defaults.

    Raises:
        ConfigError: if timm does not know the name or tag.
    """
    check_name(name)
    found = timm.get_pretrained_cfg(name)
    size = found.input_size[-1] if found else 224
    own: dict[str, Any] = {"size": (Side, size), "backbone": (Literal[name], name)}  # no other in its place
    options = create_model(f"{TimmOptions.__name__}[{name}]", __base__=TimmOptions, **own)
    return type(f"{TimmNetwork.__name__}[{name}]", (TimmNetwork,), {"options_type": options})


class _Features(nn.Module):
    """A network up to its last map or tokens, as a module, whose output can be kept."""

    network: Any
    """Of timm, whose types are not declared."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(images)
        return features

    def pool(self, features: Tensor) -> Tensor:
        """The features [B, C] that the network's own classifier would take."""
        pooled: Tensor = self.network.forward_head(features, pre_logits=True)
        return pooled


class _LowRank(nn.Module):
    """W + B A (Hu et al., LoRA, ICLR 2022, Eq. 3, without its constant factor), with B 0 at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.a = nn.Parameter(torch.empty(rank, columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def _adapt(network: nn.Module, options: TimmOptions) -> None:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise ConfigError(f"{options.backbone} has no linear layers to adapt: use tuning=full or tuning=probe.")
    for layer in layers:
        register_parametrization(layer, "weight", _LowRank(layer.weight, options.rank))


def _create(options: TimmOptions) -> Any:
    """The network without its classifier; those of a fixed size are made for the options' size."""
    name = options.backbone
    check_name(name)
    fixed = timm.get_pretrained_cfg(name)
    shape: dict[str, Any] = {"img_size": options.size} if fixed and fixed.fixed_input_size else {}
    common: dict[str, Any] = {"pretrained": options.pretrained, "weights": options.weights, "num_classes": 0}
    try:
        network = create_network(name, **common, **shape)
    except (TypeError, ValueError, AssertionError) as error:
        if not shape:
            raise
        raise ConfigError(f"{name} cannot be made for size={options.size} ({error}): use its own size.") from None
    cell = max((stage["reduction"] for stage in getattr(network, "feature_info", ())), default=1)
    if options.size < cell:
        raise ConfigError(f"{name} cannot be made for size={options.size}: its cells are of {cell} pixels.")
    return network
