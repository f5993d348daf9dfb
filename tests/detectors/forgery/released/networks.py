"""The authors' networks as functions of their tensors, written from their public code and independent of the detectors.

All in eval mode. Images are RGB in 0..1, [B, 3, H, W].
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.detectors.forgery.released.layouts import EFFICIENTNETS, blocks_of

__all__ = ["etd_log_odds", "mat_log_odds", "sia_log_odds"]

Tensors = dict[str, Tensor]


def norm(t: Tensors, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var, weight, bias = (
        t[f"{name}.{part}"].view(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + eps).sqrt() * weight + bias


def conv(t: Tensors, name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, t[f"{name}.weight"], t.get(f"{name}.bias"), **options)


def linear(t: Tensors, name: str, x: Tensor) -> Tensor:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def same(t: Tensors, name: str, x: Tensor, stride: int, groups: int = 1, side: int | None = None) -> Tensor:
    """TensorFlow's "same" padding, for the map's own side or for a fixed one."""
    kernel, side = t[f"{name}.weight"].shape[-1], side or x.shape[-1]
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    low, high = total // 2, total - total // 2
    return conv(t, name, F.pad(x, (low, high, low, high)), stride=stride, groups=groups)


def block(t: Tensors, names: dict[str, str], x: Tensor, stride: int, expansion: int, side: int | None) -> Tensor:
    """An inverted residual block; `names` are those of its parts."""
    y = x
    if expansion > 1:
        y = F.silu(norm(t, names["norm 0"], conv(t, names["expand"], y), 1e-3))
    y = F.silu(norm(t, names["norm 1"], same(t, names["depthwise"], y, stride, y.shape[1], side), 1e-3))
    squeezed = conv(t, names["widen"], F.silu(conv(t, names["squeeze"], y.mean((2, 3), keepdim=True))))
    y = norm(t, names["norm 2"], conv(t, names["project"], squeezed.sigmoid() * y), 1e-3)
    return x + y if stride == 1 and x.shape == y.shape else y


def mat_log_odds(t: Tensors, model: str, images: Tensor, heads: int) -> Tensor:
    """MAT with the layers b1 and b5."""
    side = EFFICIENTNETS[model][0]
    x = (images - 0.5) / 0.5
    x = F.silu(norm(t, "net._bn0", same(t, "net._conv_stem", x, 2, side=side), 1e-3))
    layers = {}
    parts = {"norm 0": "bn0", "norm 1": "bn1", "norm 2": "bn2", "expand": "expand_conv", "project": "project_conv"}
    parts |= {"depthwise": "depthwise_conv", "squeeze": "se_reduce", "widen": "se_expand"}
    for number, (stage, *_, stride, expansion) in enumerate(blocks_of(model)):
        names = {part: f"net._blocks.{number}._{name}" for part, name in parts.items()}
        layers[stage + 1] = x = block(t, names, x, stride, expansion, side)
    final = F.silu(norm(t, "net._bn1", conv(t, "net._conv_head", x), 1e-3))

    a = norm(t, "attentions.bn1", conv(t, "attentions.conv_extract", layers[5], padding=1)).relu()
    a = F.elu(norm(t, "attentions.bn2", conv(t, "attentions.conv2", a))) + 1
    a = a * F.interpolate(t["attentions.mask"], a.shape[-2:])

    def resized(size: tuple[int, ...]) -> Tensor:
        return F.interpolate(a, size, mode="bilinear", align_corners=True)

    f = conv(t, "texture_enhance.conv_extract", layers[1], padding=1)
    f = f - F.interpolate(F.adaptive_avg_pool2d(f, a.shape[-2:]), f.shape[-2:])
    each = []  # every head has a dense block of its own
    count = f.shape[1]
    for head in range(heads):

        def own(name: str, x: Tensor, padding: int, head: int = head) -> Tensor:
            rows = slice(count * head, count * (head + 1))
            return F.conv2d(
                x, t[f"texture_enhance.{name}.weight"][rows], t[f"texture_enhance.{name}.bias"][rows], padding=padding
            )

        def own_norm(name: str, x: Tensor, head: int = head) -> Tensor:
            width = x.shape[1]
            rows = slice(width * head, width * (head + 1))
            kept = {
                key: value[rows]
                for key, value in t.items()
                if key.startswith(f"texture_enhance.{name}.") and value.ndim
            }
            return norm(kept, f"texture_enhance.{name}", x)

        maps = own("conv0", f * resized(f.shape[-2:])[:, head : head + 1].tanh(), 2)
        for layer in (1, 2, 3):
            maps = torch.cat([maps, own(f"conv{layer}", own_norm(f"bn{layer}", maps).relu(), 1)], 1)
        each.append(own_norm("bn_last", own("conv_last", own_norm("bn4", maps).relu(), 0)).relu())
    pooled = [(maps * resized(maps.shape[-2:])[:, [head]]).sum((2, 3)) for head, maps in enumerate(each)]
    matrix = torch.cat([row / row.norm(dim=1, keepdim=True) for row in pooled], 1)
    local = F.hardswish(linear(t, "projection_local.2", F.hardswish(linear(t, "projection_local.0", matrix))))
    weights = a.sum(1, keepdim=True)
    weights = F.interpolate(weights, final.shape[-2:], mode="bilinear", align_corners=True) + 1e-8
    whole = F.hardswish(linear(t, "project_final", (final * weights).sum((2, 3)) / weights.sum((2, 3))))
    hidden = F.hardswish(linear(t, "ensemble_classifier_fc.0", torch.cat([local, whole], 1)))
    real, fake = linear(t, "ensemble_classifier_fc.2", hidden).unbind(1)
    return fake - real


def etd_log_odds(t: Tensors, blocks: int, images: Tensor) -> Tensor:
    """ETD with ResNet-34; its images are BGR, normalised as if they were RGB."""
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    features = []
    for number in range(1, blocks + 1):
        name = f"region_model{number}"
        x = (images[:, [2, 1, 0]] - mean) / std
        x = F.max_pool2d(norm(t, f"{name}.bn1", conv(t, f"{name}.conv1", x, stride=2, padding=3)).relu(), 3, 2, 1)
        for layer, repeats in enumerate((3, 4, 6, 3), 1):
            for place in range(repeats):
                part, stride = f"{name}.layer{layer}.{place}", 2 if layer > 1 and place == 0 else 1
                y = norm(t, f"{part}.bn1", conv(t, f"{part}.conv1", x, stride=stride, padding=1)).relu()
                y = norm(t, f"{part}.bn2", conv(t, f"{part}.conv2", y, padding=1))
                if stride > 1:
                    x = norm(t, f"{part}.downsample.1", conv(t, f"{part}.downsample.0", x, stride=stride))
                x = (x + y).relu()
        features.append(x.mean((2, 3)))
    z = torch.cat(features, 1)
    for index in (0, 4):
        z = norm(t, f"bottleneck.model.{index + 1}", linear(t, f"bottleneck.model.{index}", z)).relu()
    real, fake = linear(t, "linear.1", linear(t, "bottleneck.model.8", z)).unbind(1)
    return fake - real


def sia_log_odds(t: Tensors, image: Tensor) -> Tensor:
    """SIA of a single image, [1, 3, H, W], with centred boxes; the release divides by a mean over the batch."""
    x = (image - 0.5) / 0.5
    model = "encoder.model"
    x = F.silu(norm(t, f"{model}.bn1", same(t, f"{model}.conv_stem", x, 2), 1e-3))
    informations: list[Tensor] = []
    last = {0: 1, 1: 3, 2: 3, 3: 5, 4: 5, 5: 7, 6: 1}
    for stage, place, *_, stride, expansion in blocks_of("b4"):
        name, shift = f"{model}.blocks.{stage}.{place}", 0 if expansion > 1 else -1
        names = {"norm 0": f"{name}.bn1", "norm 1": f"{name}.bn{2 + shift}", "norm 2": f"{name}.bn{3 + shift}"}
        names |= {"expand": f"{name}.conv_pw", "project": f"{name}.conv_pwl" if expansion > 1 else f"{name}.conv_pw"}
        names |= {
            "depthwise": f"{name}.conv_dw",
            "squeeze": f"{name}.se.conv_reduce",
            "widen": f"{name}.se.conv_expand",
        }
        x = block(t, names, x, stride, expansion, None)
        if place == last[stage] and stage in {1, 2, 4}:
            incoming = {1: [], 2: ["conv1"], 4: ["conv2", "conv3"]}[stage]
            for align, information in zip(incoming, informations, strict=True):
                y = norm(t, f"encoder.{align}.1", conv(t, f"encoder.{align}.0", information)).relu()
                x = x + F.adaptive_max_pool2d(y, x.shape[-2:])
            box = t[f"encoder.att{stage}conv.weight"]
            around = F.conv2d(x, box, padding=box.shape[-1] // 2, groups=x.shape[1])
            intra = (F.conv2d(x, t[f"encoder.att{stage}conv.weight2"], groups=x.shape[1]) - around).abs()
            differences = torch.cat([x - torch.cat([x, x[:, :6]], 1)[:, i : i + x.shape[1]] for i in range(1, 6)], 1)
            inter = differences.view(1, -1, 5, *x.shape[2:]).sum(2).abs()
            information = intra + 0.1 * inter
            information = information / information.mean() / 2
            x = (information.sigmoid() + 1) * x * (information.mean((2, 3), keepdim=True) + 1)
            informations.append(information)
    x = F.silu(norm(t, f"{model}.bn2", conv(t, f"{model}.conv_head", x), 1e-3))
    return linear(t, "fc", linear(t, "feature", x.mean((2, 3))))[:, 0]
