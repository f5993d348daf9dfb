"""Non-maximum suppression of many frames' boxes at once."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

__all__ = ["suppress_contained", "suppress_overlapping"]


def suppress_overlapping(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Greedy suppression by intersection over union, within each group.

    Args:
        boxes: [M, 4], xyxy.
        scores: [M].
        groups: int64 [M]; boxes of different groups (frames, pyramid levels) never touch.
        threshold: a box is dropped where its IoU with a better one exceeds this.

    Returns:
        int64 [K], indices of the boxes kept, best score first.
    """
    # batched_nms moves groups far apart: in float32 that would cost the boxes their fractions.
    return torch.as_tensor(batched_nms(boxes.double(), scores.double(), groups, threshold))


def suppress_contained(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Greedy suppression by intersection over the smaller box, within each group.

    This is the last suppression of MTCNN: it also drops a small box inside a large one. Sides
    count both end pixels, as in the original. Arguments and result as in `suppress_overlapping`.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, groups = boxes[order], groups[order]
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).clamp(min=0)
    area = sides.prod(dim=1)
    top_left = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    intersection = (bottom_right - top_left + 1).clamp(min=0).prod(dim=2)  # [M, M]
    covered = intersection > threshold * torch.minimum(area[:, None], area[None, :])
    rivals = (covered & (groups[:, None] == groups[None, :])).triu(diagonal=1)  # [better, worse]
    # The greedy choice is the only set that equals "no kept, better rival": iterate until it stands.
    keep = torch.ones_like(groups, dtype=torch.bool)
    while not torch.equal(keep, kept := ~(rivals & keep[:, None]).any(dim=0)):
        keep = kept
    return order[keep]
