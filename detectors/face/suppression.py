"""Non-maximum suppression of the boxes of many frames at once."""

import torch
from torch import Tensor

from facemill.detectors.installed import package_folder

__all__ = ["suppress_contained", "suppress_overlapping"]


def suppress_overlapping(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Greedy suppression by intersection over union, within each group.

    Args:
        boxes: [M, 4], xyxy.
        scores: [M].
        groups: int64 [M]; boxes of different groups (frames, pyramid levels) do not suppress each other.
        threshold: a box is dropped if its IoU with a kept, higher-scoring one exceeds this.

    Returns:
        int64 [K], indices of the boxes kept, highest score first.
    """
    if not len(boxes):
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    # Groups are moved apart, so that none touches another. In float32 that would lose the fractions of coordinates.
    boxes = boxes.double()
    apart = boxes + (groups * (boxes.max() - boxes.min() + 1))[:, None]
    return torch.as_tensor(_operators().nms(apart, scores.double(), threshold))


def suppress_contained(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Greedy suppression by intersection over the smaller box, within each group.

    MTCNN's last suppression: it also drops a small box inside a large one. Sides count both end
    pixels, as in the original. Arguments and result as in `suppress_overlapping`.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, groups = boxes[order], groups[order]
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).clamp(min=0)
    area = sides.prod(dim=1)
    top_left = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    intersection = (bottom_right - top_left + 1).clamp(min=0).prod(dim=2)  # [M, M]
    covered = intersection > threshold * torch.minimum(area[:, None], area[None, :])
    suppresses = (covered & (groups[:, None] == groups[None, :])).triu(diagonal=1)  # [better, worse]
    # The greedy result is the only fixed point of "kept unless a kept, better box suppresses it": iterate to it.
    keep = torch.ones_like(groups, dtype=torch.bool)
    while not torch.equal(keep, kept := ~(suppresses & keep[:, None]).any(dim=0)):
        keep = kept
    return order[keep]


def _operators() -> torch._ops._OpNamespace:
    """The operators of torchvision, without the package's import, which takes longer than torch's own."""
    operators = torch.ops.torchvision
    if not hasattr(operators, "nms"):
        for library in package_folder("torchvision", "whose operators suppress overlapping faces").glob("_C*.so"):
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    return operators
