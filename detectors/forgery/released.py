"""Checkpoints of the authors' released code, as detectors.

MAT: github.com/yoctta/multiple-attention, with an EfficientNet. ETD: github.com/QingyuLiu/Exposing-the-Deception, with
ResNet-34. SIA: github.com/skJack/Code-for-SIA. The networks of MAT and SIA differ there from their papers' (option
`form`).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from facemill import DetectorError
from facemill.detectors.forgery.backbones import create_backbone
from facemill.detectors.forgery.base import ForgeryDetector
from facemill.detectors.forgery.creation import create
from facemill.detectors.forgery.etd.network import ETDOptions
from facemill.registry import nearest

__all__ = ["RELEASED", "Released", "convert"]

_SIDES = (224, 240, 260, 300, 380, 456, 528, 600)  # of the images of EfficientNet-B0 to B7
_BLOCKS = {16: 0, 26: 3, 32: 4, 39: 5, 45: 6, 55: 7}  # by number of blocks; B1 and B2 have equally many


class Released(NamedTuple):
    """A released checkpoint.

    Attributes:
        detector: with the checkpoint's weights, in eval mode, on the CPU.
        options: its options that are not defaults.
        placed: names of the file's tensors that are in it.
        left_over: names of the others: constants, second names of a tensor, and parts that the score does not use.
    """

    detector: ForgeryDetector
    options: dict[str, Any]
    placed: list[str]
    left_over: list[str]


class _Placement:
    """A state dict, and where its tensors go."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = {key.removeprefix("module."): value for key, value in state.items()}
        self.tensors: dict[str, Tensor] = {}
        self.placed: set[str] = set()

    def move(self, moves: Mapping[str, str]) -> None:
        """Place tensors, or all tensors of modules, under new names."""
        for old, new in moves.items():
            for key in [key for key in self.state if key == old or key.startswith(f"{old}.")]:
                self.tensors[new + key[len(old) :]] = self.state[key]
                self.placed.add(key)

    def efficientnet(self, prefix: str, stages: list[nn.Module]) -> None:
        """Place an EfficientNet with the names of the package efficientnet_pytorch."""
        last = len(stages) - 1
        self.move({f"{prefix}._conv_stem": "backbone.stages.0.0", f"{prefix}._bn0": "backbone.stages.0.1"})
        self.move({f"{prefix}._conv_head": f"backbone.stages.{last}.0", f"{prefix}._bn1": f"backbone.stages.{last}.1"})
        number = 0
        for stage, blocks in enumerate(stages[1:last], 1):
            for place, _ in enumerate(blocks.children()):
                old, new = f"{prefix}._blocks.{number}", f"backbone.stages.{stage}.{place}"
                parts = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
                names = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
                if f"{old}._expand_conv.weight" not in self.state:
                    parts, names = parts[2:], ["conv_dw", "bn1", "conv_pw", "bn2"]
                moves = {f"{old}.{part}": f"{new}.{name}" for part, name in zip(parts, names, strict=True)}
                squeeze = {f"{old}._se_{part}": f"{new}.se.conv_{part}" for part in ("reduce", "expand")}
                self.move(moves | squeeze)
                number += 1


def convert(name: str, state: Mapping[str, Tensor]) -> Released:
    """Build a detector from the state dict of a released checkpoint.

    Args:
        name: one of `RELEASED`.

    Raises:
        DetectorError: if there is no such release, or the state dict is not of it.
    """
    if name not in RELEASED:
        raise DetectorError(
            f"No checkpoint of {name} can be imported{nearest(name, RELEASED)}: use {', '.join(RELEASED)}."
        )
    placement, (read_options, place) = _Placement(state), RELEASED[name]
    try:
        options = read_options(placement.state)
        detector = create(name, **options).eval()
        place(placement, detector)
        missing, unexpected = detector.load_state_dict(placement.tensors, strict=False)
    except (KeyError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DetectorError(f"This is no checkpoint of {name}'s release ({reason}): give another file.") from None
    if faults := [f"it has no {key}" for key in missing] + [f"{key} is unknown" for key in unexpected]:
        raise DetectorError(f"This is no checkpoint of {name}'s release ({faults[0]}): give another file.")
    placed = [key for key in placement.state if key in placement.placed]
    return Released(detector, options, placed, [key for key in placement.state if key not in placement.placed])


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that the pattern's group finds in names of tensors; 0 if it finds none."""
    return 1 + max((int(found[1]) for key in state if (found := re.match(pattern, key))), default=-1)


def _parts(detector: ForgeryDetector, name: str) -> list[nn.Module]:
    return list(detector.get_submodule(name).children())


def _mat_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = _count(state, r"net\._blocks\.(\d+)\.")
    if blocks not in _BLOCKS:
        raise KeyError("facemill imports MAT with EfficientNet-B0 or B3 to B7")
    model = _BLOCKS[blocks]
    backbone = f"tf_efficientnet_b{model}.ap_in1k"
    channels = create_backbone(backbone).channels
    heads = len(state["attentions.conv2.weight"])
    layers = {channels[index]: f"L{index}" for index in range(1, 6)}
    return {
        "form": "release",
        "backbone": backbone,
        "size": _SIDES[model],
        "num_attentions": heads,
        "texture_tap": layers[len(state["texture_enhance.conv_extract.weight"])],
        "attention_tap": layers[len(state["attentions.conv_extract.weight"])],
        **({"loss": "none", "agda": "none"} if heads == 1 else {}),
    }


def _place_mat(placement: _Placement, detector: ForgeryDetector) -> None:
    placement.efficientnet("net", _parts(detector, "backbone.stages"))
    attention = {"conv_extract": 0, "bn1": 1, "conv2": 3, "bn2": 4, "mask": "5.mask"}
    placement.move({f"attentions.{old}": f"attention.{new}" for old, new in attention.items()})
    texture = {"conv_extract": "extract", "conv0": "entry", "bn4": "last.0", "conv_last": "last.2", "bn_last": "last.3"}
    for layer in (1, 2, 3):
        texture |= {f"bn{layer}": f"layers.{layer - 1}.0", f"conv{layer}": f"layers.{layer - 1}.2"}
    placement.move({f"texture_enhance.{old}": f"texture.{new}" for old, new in texture.items()})
    heads = {"projection_local.0": "local_projection.1", "projection_local.2": "local_projection.3"}
    heads |= {"project_final": "global_projection.1", "ensemble_classifier_fc": "classifier"}
    placement.move(heads)


def _etd_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    if "region_model1.layer4.0.conv1.weight" not in state:
        raise KeyError("facemill imports ETD with ResNet-34")
    # The release's images are BGR, as OpenCV reads them, and its mean and standard deviation in the order of RGB.
    own = ETDOptions().input_spec
    return {"n": _count(state, r"region_model(\d+)\.") - 1, "mean": own.mean[::-1], "std": own.std[::-1]}


def _place_etd(placement: _Placement, detector: ForgeryDetector) -> None:
    placement.move({"bottleneck.model": "fusion", "baseline_linear": "joint_head", "linear": "fused_head"})
    for block, _ in enumerate(_parts(detector, "blocks")):
        old, new = f"region_model{block + 1}", f"blocks.{block}.stages"
        placement.move({f"{old}.conv1": f"{new}.0.0", f"{old}.bn1": f"{new}.0.1"})
        placement.move({f"{old}.layer{layer}": f"{new}.{layer}" for layer in range(1, 5)})
        placement.move({f"local_linear{block + 1}": f"without_heads.{block}"})
        stem = f"{new}.0.0.weight"
        placement.tensors[stem] = placement.tensors[stem].flip(1)  # channels from BGR to RGB


def _place_sia(placement: _Placement, detector: ForgeryDetector) -> None:
    last = len(_parts(detector, "backbone.stages")) - 1
    outer = {"conv_stem": "0.0", "bn1": "0.1", "conv_head": f"{last}.0", "bn2": f"{last}.1"}
    outer |= {f"blocks.{stage}": str(stage + 1) for stage in range(last - 1)}
    placement.move({f"encoder.model.{old}": f"backbone.stages.{new}" for old, new in outer.items()})
    aligns = {"conv1": "1.aligns.0", "conv2": "2.aligns.0", "conv3": "2.aligns.1"}
    placement.move({f"encoder.{old}": f"aggregations.{new}" for old, new in aligns.items()})
    # Two linear layers in sequence are one.
    parts = ("feature.weight", "feature.bias", "fc.weight", "fc.bias")
    inner_weight, inner_bias, weight, bias = (placement.state[part].double() for part in parts)
    placement.tensors["classifier.weight"] = (weight @ inner_weight).float()
    placement.tensors["classifier.bias"] = (weight @ inner_bias + bias).float()
    placement.placed.update(parts)


_Read = Callable[[Mapping[str, Tensor]], dict[str, Any]]
_Place = Callable[[_Placement, ForgeryDetector], None]
RELEASED: dict[str, tuple[_Read, _Place]] = {
    "mat": (_mat_options, _place_mat),
    "etd": (_etd_options, _place_etd),
    "sia": (lambda state: {"form": "release", "backbone": "tf_efficientnet_b4.ns_jft_in1k"}, _place_sia),
}
"""Functions that read a detector's options off a state dict, and give its tensors their names in that detector."""
