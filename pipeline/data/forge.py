"""Forgeries made of the reals of a training batch, on the batch's device: self-blended images, and Face X-ray's."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from facemill import DatasetError
from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.data.face_masks import place_masks, sample_at, similarities
from facemill.pipeline.data.fields import DENSE, LANDMARKS, MASK, SUBJECT, subjects
from facemill.pipeline.data.split import describe_sample

__all__ = ["XRAY", "Forgeries", "add_forgeries", "check_reals", "fields_to_read"]

XRAY = "xray"

Forgeries = Literal["none", "sbi", "xray"]
"""As in `TrainSettings.forgeries`."""

_RATIOS = (0.25, 0.5, 0.75, 1, 1, 1)
_SHIFT = (0.03, 0.015)  # largest, in x and y, as a share of the side
_SCALE = (0.95, 1 / 0.95)
_RGB, _RGB_SHARE = 20 / 255, 0.3  # largest shift of a channel, and the share of images that have one
_LIGHT = 0.1
_SHRINK = (2, 4)
_AT_ONCE = 1
"""Images changed at a time on a CPU: they fit into its cache, and their memory is used again."""
_SHOWN, _MARGIN = 1 / 1024, 12
"""Least value of a mask that shows in 8 bits, and the pixels around on which it depends, as images are shrunk first."""
_ALPHA, _LIGHTNESS = (0.2, 0.5), (0.5, 1.0)  # of sharpening


def fields_to_read(fields: Sequence[str], forgeries: Forgeries, *, dense: bool = False) -> tuple[str, ...]:
    """The fields that reals must have, for batches with these fields once forgeries are added.

    Args:
        dense: whether they have dense landmarks, by which the masks are then made.
    """
    made = (MASK, XRAY)
    needed = (LANDMARKS, *([DENSE] if dense else []), *([SUBJECT] if forgeries == "xray" else []))
    return tuple(dict.fromkeys([*(name for name in fields if name not in made), *needed]))


@torch.no_grad()
def add_forgeries(
    reals: ForgeryBatch, forgeries: Forgeries, fields: Sequence[str], rng: np.random.Generator
) -> ForgeryBatch:
    """Add a forgery of each real of a batch.

    `sbi`: self-blended images (Shiohara and Yamasaki, CVPR 2022). Source and target are the same crop, of which one,
    either of them, has its colours changed and is shrunk or sharpened; the source is moved, and blended into the
    target by a soft mask M of a part of the face, times a ratio. The target is the real of the pair, so that nothing
    but the blending tells them apart. Amounts are those of the released code, whose changes of hue, saturation and
    value (0.3 of 255 levels) are below what 8 bits hold, and left out.

    Masks are hulls of the dense landmarks of `annotate.landmarks68`, as both papers have them, where the batch has
    these, and otherwise outlines of an adult's face, fitted to the five landmarks.

    `xray`: the source is the crop of another subject in the batch whose landmarks are nearest (Li et al., CVPR 2020),
    aligned with the target by a similarity and given its mean and deviation of colours within the mask; it is then
    changed as above. Where a batch has one subject only, it is the crop itself.

    Args:
        reals: as stacked by `collate`, with the fields of `fields_to_read`; all labels 0.
        fields: those to make, of `mask` and `xray`; others are ignored.
        rng: the only source of chance.

    Returns:
        twice as many samples, as stored: the reals, then a forgery of each, with its other fields. `mask` uint8
        [2 N, 1, S, S] is 255 where M > 0.5. `xray` uint8 is 255 times 4 M (1 - M), the boundary of the blending
        (Li et al., Eq. 2, scaled to 1). Both are 0 for reals. A crop whose face lies outside it stays a real.
    """
    with torch.autocast(reals.images.device.type, enabled=False):  # coordinates need more precision than bf16
        images, mask = _blend(reals, forgeries, rng)
    batch = ForgeryBatch({name: torch.cat([values, values]) for name, values in reals.items() if name != "image"})
    batch["image"] = images
    forged = (mask > 0.5).to(torch.uint8)
    batch["label"] = torch.cat([reals.labels, forged.amax((1, 2, 3)).to(reals.labels)])
    made = {MASK: 255 * forged, XRAY: (1 - mask).mul_(mask).mul_(4 * 255).round_().to(torch.uint8)}
    for name in made.keys() & fields:
        batch[name] = torch.cat([torch.zeros_like(made[name]), made[name]])
    if MASK in fields:
        batch["has_mask"] = torch.ones_like(batch.labels, dtype=torch.bool)
    return batch


def _blend(reals: ForgeryBatch, forgeries: Forgeries, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Targets and then forgeries, uint8 [2 N, 3, S, S], and blending masks [N, 1, S, S].

    Tensors are changed in place, and few images at a time, since on a CPU memory takes longer than arithmetic.
    """
    images, landmarks = reals.images, reals[LANDMARKS].float()
    count, side, device = len(images), images.shape[-1], images.device
    moves = _jitter(count, side, rng).to(device, non_blocking=True)
    dense = reals[DENSE].float().view(count, -1, 2) if DENSE in reals else None
    mask = place_masks(landmarks, moves, side, rng, dense)
    partner = torch.arange(count, device=device)
    if forgeries == "xray":
        partner = _nearest(landmarks if dense is None else dense, reals[SUBJECT])
        align = similarities(landmarks, landmarks[partner])
        linear, shift = align[:, :, :2], align[:, :, 2:]
        moves = torch.cat([linear @ moves[:, :, :2], linear @ moves[:, :, 2:] + shift], 2)
    of_target, look = rng.random(count) < 0.5, _Look(count, rng)
    ratio = torch.from_numpy(rng.choice(_RATIOS, (count, 1, 1, 1)).astype(np.float32)).to(device, non_blocking=True)
    made = torch.empty((2, *images.shape), dtype=torch.uint8, device=device)
    step = _AT_ONCE if device.type == "cpu" else count
    for some in (slice(start, start + step) for start in range(0, count, step)):
        target = images[some].float()
        box = _around(mask[some]) if device.type == "cpu" else (slice(0, side), slice(0, side))
        part = sample_at(images[partner[some]].float() if forgeries == "xray" else target, moves[some], box)
        if forgeries == "xray":
            part = _with_colours_of(part, target[..., *box], mask[some][..., *box])
        source = target.clone()  # what is beside the box is not shown
        source[..., *box] = part
        look.change(target, of_target, some)
        look.change(source, ~of_target, some)
        made[1, some] = torch.lerp(target, source, mask[some] * ratio[some], out=source).round_()
        made[0, some] = target.round_()
    return made.flatten(0, 1), mask


def _around(masks: Tensor) -> tuple[slice, slice]:
    """Rows and columns around masks [N, 1, S, S]; starts are even, so that the same pixels are the fourth used."""
    side, box = masks.shape[-1], []
    for axis in (3, 2):
        places = (masks.amax((0, 1, axis)) > _SHOWN).nonzero()
        first, last = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
        box.append(slice(max(first - _MARGIN, 0) // 2 * 2, min(last + 1 + _MARGIN, side)))
    return box[0], box[1]


def _jitter(count: int, side: int, rng: np.random.Generator) -> Tensor:
    """Random shifts, and scales of both axes about the centre, [N, 2, 3]."""
    scale, shift = rng.uniform(*_SCALE, (count, 2)), rng.uniform(-1, 1, (count, 2)) * _SHIFT
    moves = np.zeros((count, 2, 3), np.float32)
    moves[:, [0, 1], [0, 1]] = scale
    moves[:, :, 2] = ((1 - scale) / 2 + shift) * side
    return torch.from_numpy(moves)


def _nearest(landmarks: Tensor, subjects: Tensor) -> Tensor:
    """For each face the one of another subject whose landmarks are nearest, or itself if there is none, [N]."""
    distances = (landmarks[:, None] - landmarks).square().sum((2, 3))
    same = subjects[:, None] == subjects
    itself = torch.eye(len(subjects), dtype=torch.bool, device=subjects.device)
    return distances.masked_fill(same, 1e30).masked_fill(itself, 1e29).argmin(1)


def _with_colours_of(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Give sources the mean and deviation of each channel that their targets have within the masks."""
    # A fourth of the pixels suffices.
    share = mask[..., ::2, ::2] / mask[..., ::2, ::2].sum((2, 3), keepdim=True).clamp_min(1e-6)

    def statistics(images: Tensor) -> tuple[Tensor, Tensor]:
        images = images[..., ::2, ::2]
        mean = (images * share).sum((2, 3), keepdim=True)
        return mean, ((images - mean).square() * share).sum((2, 3), keepdim=True).sqrt()

    (mean, deviation), (wanted, width) = statistics(source), statistics(target)
    factor = (width / deviation.clamp_min(0.1)).clamp(0.5, 2)
    return source.mul_(factor).add_(wanted - mean * factor).clamp_(0, 255)


class _Look:
    """Random changes of images 0..255: shifts of channels, brightness and contrast, and then the sharpness."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        tint = rng.uniform(-_RGB, _RGB, (count, 3)) * (rng.random((count, 1)) < _RGB_SHARE)
        contrast, brightness = 1 + rng.uniform(-_LIGHT, _LIGHT, (count, 1)), rng.uniform(-_LIGHT, _LIGHT, (count, 1))
        alpha, lightness = rng.uniform(*_ALPHA, (count, 1)), rng.uniform(*_LIGHTNESS, (count, 1))
        # Each pixel gets `factor * x + summand`; sharpened ones then `own * x - 9 * alpha * mean of 3 x 3 pixels`.
        own = 1 - alpha + alpha * lightness + 9 * alpha
        numbers = np.concatenate([contrast, 255 * (contrast * tint + brightness), own, 9 * alpha], 1)
        self._numbers = torch.from_numpy(numbers.astype(np.float32))[..., None, None]
        self._kind = rng.choice(len(_SHRINK) + 1, count, p=(0.25, 0.25, 0.5))

    def change(self, images: Tensor, chosen: NDArray[np.bool_], some: slice) -> None:
        """Change the chosen ones, [N], of some images, [n, 3, H, W], in place."""
        for kind in range(len(_SHRINK) + 1):
            where = torch.from_numpy(np.flatnonzero((chosen & (self._kind == kind))[some]))
            if not len(where):
                continue
            numbers = self._numbers[some][where].to(images.device, non_blocking=True)
            factor, summand, own, around = numbers[:, :1], numbers[:, 1:4], numbers[:, 4:5], numbers[:, 5:]
            where = where.to(images.device, non_blocking=True)
            x = images if len(where) == len(images) else images[where]
            x = x.mul_(factor).add_(summand).clamp_(0, 255)
            if kind < len(_SHRINK):
                size = [max(side // _SHRINK[kind], 1) for side in x.shape[2:]]
                x = F.interpolate(F.interpolate(x, size, mode="area"), x.shape[2:], mode="bilinear")
            else:
                sums = F.pad(x, (1, 1, 1, 1), mode="replicate")
                sums = (sums[..., :-2] + sums[..., 1:-1]).add_(sums[..., 2:])
                sums = (sums[..., :-2, :] + sums[..., 1:-1, :]).add_(sums[..., 2:, :])
                x = x.mul_(own).sub_(sums.mul_(around / 9)).clamp_(0, 255)
            if x is not images:
                images.index_copy_(0, where, x)


def check_reals(reals: pa.Table, forgeries: Forgeries) -> None:
    """Check that forgeries can be made of these rows of samples.parquet.

    Raises:
        DatasetError: if crops have no landmarks, or, for `xray`, all show one subject.
    """
    points: Any = reals["landmarks"].combine_chunks()
    unknown = ~np.asarray(points.flatten()).reshape(-1, 10).any(1)
    if unknown.any():
        raise DatasetError(
            f"{unknown.sum()} real crops have no landmarks, {describe_sample(reals, int(unknown.argmax()))} first, and "
            f"train.forgeries={forgeries} needs them: leave out datasets of face crops."
        )
    if forgeries == "xray" and len(reals) and subjects(reals).max() == 0:
        raise DatasetError(
            "The training reals are of one subject, and train.forgeries=xray blends two: add others, or use sbi."
        )
