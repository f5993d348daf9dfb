"""Names and shapes of the tensors in the authors' checkpoints, from their public code, with random values."""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["EFFICIENTNETS", "blocks_of", "etd_tensors", "mat_tensors", "sia_tensors"]

Shapes = dict[str, tuple[int, ...]]

KERNELS, STRIDES, EXPANSIONS = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1), (1, 6, 6, 6, 6, 6, 6)
EFFICIENTNETS = {
    # side of the images, stem, channels and blocks of the seven stages, head
    "b0": (224, 32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 1280),
    "b4": (380, 48, (24, 32, 56, 112, 160, 272, 448), (2, 4, 4, 6, 6, 8, 2), 1792),
}


def norm(name: str, channels: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (channels,) for part in parts}, f"{name}.num_batches_tracked": ()}


def linear(name: str, before: int, after: int, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (after, before), **({f"{name}.bias": (after,)} if bias else {})}


def conv(name: str, before: int, after: int, side: int, *, groups: int = 1, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (after, before // groups, side, side), **({f"{name}.bias": (after,)} if bias else {})}


def filled(shapes: Shapes, gain: float) -> dict[str, Tensor]:
    """Random values; `gain` is that of each layer, so that the scores neither vanish nor overflow."""
    generator = torch.Generator().manual_seed(0)

    def values(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        drawn = torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            return drawn.square() + 0.5
        if name.endswith(("bias", "running_mean", "centers")):
            return 0.1 * drawn
        if len(shape) == 1:
            return 1 + 0.1 * drawn
        return gain * drawn / torch.Size(shape[1:]).numel() ** 0.5

    return {name: values(name, shape) for name, shape in shapes.items()}


def blocks_of(model: str) -> Iterator[tuple[int, int, int, int, int, int, int]]:
    """(stage, place in it, channels before, after, kernel, stride, expansion) of each block."""
    _, before, channels, repeats, _ = EFFICIENTNETS[model]
    for stage in range(7):
        for place in range(repeats[stage]):
            stride = STRIDES[stage] if place == 0 else 1
            yield stage, place, before, channels[stage], KERNELS[stage], stride, EXPANSIONS[stage]
            before = channels[stage]


def efficientnet_pytorch(prefix: str, model: str, classes: int) -> Shapes:
    """The names of the package efficientnet_pytorch."""
    _, stem, channels, _, head = EFFICIENTNETS[model]
    shapes = conv(f"{prefix}._conv_stem", 3, stem, 3, bias=False) | norm(f"{prefix}._bn0", stem)
    for number, (_, _, before, after, kernel, _, expansion) in enumerate(blocks_of(model)):
        name, wide = f"{prefix}._blocks.{number}", before * expansion
        if expansion > 1:
            shapes |= conv(f"{name}._expand_conv", before, wide, 1, bias=False) | norm(f"{name}._bn0", wide)
        shapes |= conv(f"{name}._depthwise_conv", wide, wide, kernel, groups=wide, bias=False)
        shapes |= norm(f"{name}._bn1", wide)
        shapes |= conv(f"{name}._se_reduce", wide, before // 4, 1) | conv(f"{name}._se_expand", before // 4, wide, 1)
        shapes |= conv(f"{name}._project_conv", wide, after, 1, bias=False) | norm(f"{name}._bn2", after)
    shapes |= conv(f"{prefix}._conv_head", channels[-1], head, 1, bias=False) | norm(f"{prefix}._bn1", head)
    return shapes | linear(f"{prefix}._fc", head, classes)


def mat_tensors(model: str = "b0", heads: int = 4) -> dict[str, Tensor]:
    """MAT's: layers b1 and b5, as in its config.py."""
    _, _, channels, _, head = EFFICIENTNETS[model]
    shallow, deep, wide = channels[0], channels[4], channels[0] * heads
    shapes: Shapes = efficientnet_pytorch("net", model, 2) | {"attentions.mask": (1, 1, 24, 24)}
    shapes |= conv("attentions.conv_extract", deep, deep, 3) | norm("attentions.bn1", deep)
    shapes |= conv("attentions.conv2", deep, heads, 1, bias=False) | norm("attentions.bn2", heads)
    texture = "texture_enhance"
    shapes |= conv(f"{texture}.conv_extract", shallow, shallow, 3)
    shapes |= conv(f"{texture}.conv0", wide, wide, 5, groups=heads)
    for layer in (1, 2, 3):
        shapes |= conv(f"{texture}.conv{layer}", wide * layer, wide, 3, groups=heads)
        shapes |= norm(f"{texture}.bn{layer}", wide * layer)
    shapes |= conv(f"{texture}.conv_last", wide * 4, wide, 1, groups=heads)
    shapes |= norm(f"{texture}.bn4", wide * 4) | norm(f"{texture}.bn_last", wide)
    shapes |= linear("projection_local.0", wide, 256) | linear("projection_local.2", 256, 256)
    shapes |= linear("project_final", head, 256)
    shapes |= linear("ensemble_classifier_fc.0", 512, 256) | linear("ensemble_classifier_fc.2", 256, 2)
    shapes |= {"auxiliary_loss.feature_centers": (heads, shallow), "auxiliary_loss.alpha": ()}
    tensors = filled(shapes | {"auxiliary_loss.inner_margin": (2,)}, gain=1.5)
    tensors["attentions.mask"] = torch.zeros(1, 1, 24, 24)
    tensors["attentions.mask"][0, 0, 2:-2, 2:-2] = 1
    return tensors


def etd_tensors(blocks: int = 2) -> dict[str, Tensor]:
    """ETD's, with ResNet-34."""
    shapes: Shapes = {}
    for block in range(1, blocks + 1):
        name, before = f"region_model{block}", 64
        shapes |= conv(f"{name}.conv1", 3, 64, 7, bias=False) | norm(f"{name}.bn1", 64)
        for layer, (after, repeats) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
            for place in range(repeats):
                part = f"{name}.layer{layer}.{place}"
                shapes |= conv(f"{part}.conv1", before, after, 3, bias=False) | norm(f"{part}.bn1", after)
                shapes |= conv(f"{part}.conv2", after, after, 3, bias=False) | norm(f"{part}.bn2", after)
                if before != after:
                    shapes |= conv(f"{part}.downsample.0", before, after, 1, bias=False)
                    shapes |= norm(f"{part}.downsample.1", after)
                before = after
    for block in range(1, blocks + 1):
        shapes |= linear(f"local_linear{block}", 512 * (blocks - 1), 2)
    shapes |= linear("bottleneck.model.0", 512 * blocks, 1000) | norm("bottleneck.model.1", 1000)
    shapes |= linear("bottleneck.model.4", 1000, 500) | norm("bottleneck.model.5", 500)
    shapes |= linear("bottleneck.model.8", 500, 512) | linear("baseline_linear", 512 * blocks, 2)
    return filled(shapes | linear("linear.1", 512, 2), gain=1.0)


def sia_tensors() -> dict[str, Tensor]:
    """SIA's: timm's EfficientNet-B4, whose parts have second names, and constants of the attention."""
    _, stem, channels, _, head = EFFICIENTNETS["b4"]
    model = "encoder.model"
    shapes = conv(f"{model}.conv_stem", 3, stem, 3, bias=False) | norm(f"{model}.bn1", stem)
    for stage, place, before, after, kernel, _, expansion in blocks_of("b4"):
        name, wide = f"{model}.blocks.{stage}.{place}", before * expansion
        if expansion > 1:
            shapes |= conv(f"{name}.conv_pw", before, wide, 1, bias=False) | norm(f"{name}.bn1", wide)
        shapes |= conv(f"{name}.conv_dw", wide, wide, kernel, groups=wide, bias=False)
        shapes |= norm(f"{name}.bn{2 if expansion > 1 else 1}", wide)
        shapes |= conv(f"{name}.se.conv_reduce", wide, before // 4, 1)
        shapes |= conv(f"{name}.se.conv_expand", before // 4, wide, 1)
        last, number = ("conv_pwl", 3) if expansion > 1 else ("conv_pw", 2)
        shapes |= conv(f"{name}.{last}", wide, after, 1, bias=False) | norm(f"{name}.bn{number}", after)
    shapes |= conv(f"{model}.conv_head", channels[-1], head, 1, bias=False) | norm(f"{model}.bn2", head)
    shapes |= linear(f"{model}.classifier", head, 1)
    for name, (before, after) in {
        "conv1": (32, 56),
        "conv2": (32, 160),
        "conv4": (32, 112),
        "conv3": (56, 160),
    }.items():
        shapes |= conv(f"encoder.{name}.0", before, after, 1) | norm(f"encoder.{name}.1", after)
    shapes |= linear("encoder.linear", head, 1) | linear("feature", head, 128) | linear("fc", 128, 1)
    tensors = filled(shapes, gain=1.15)
    second = {"layerstem.0": "conv_stem", "layerstem.1": "bn1", "layertail.0": "conv_head", "layertail.1": "bn2"}
    second |= {f"layer{stage}": f"blocks.{stage}" for stage in range(7)}
    for name, first in second.items():
        prefix = f"{model}.{first}."
        found = {key: value for key, value in tensors.items() if key.startswith(prefix)}
        tensors |= {f"encoder.{name}.{key[len(prefix) :]}": value for key, value in found.items()}
    for number, (count, side) in enumerate(zip((24, *channels[1:]), (7, 7, 5, 3, 3, 3, 3), strict=True)):
        tensors[f"encoder.att{number}conv.weight"] = torch.ones(count, 1, side, side)
        tensors[f"encoder.att{number}conv.weight2"] = torch.full((count, 1, 1, 1), float(side * side))
    return tensors
