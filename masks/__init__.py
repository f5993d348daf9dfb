"""Forgery masks, from real/fake pairs and from ground-truth mask videos.

Frames are uint8 RGB [H, W, 3], masks uint8 [H, W] of 0 and 255. Arrays of another type or shape raise ValueError.
Importing this package does not import torch.
"""

from facemill.masks.alignment import AlignmentKind, PairAlignment, Thumbnails, align_pair
from facemill.masks.difference import difference_mask, mask_iou
from facemill.masks.face_difference import FaceDifference, OriginalFrame
from facemill.masks.forgery import FORGED_SCORE, FaceForgery, find_forgeries
from facemill.masks.ground_truth import ground_truth_mask
from facemill.masks.pair_times import match_by_number, match_by_time

__all__ = [
    "FORGED_SCORE",
    "AlignmentKind",
    "FaceDifference",
    "FaceForgery",
    "OriginalFrame",
    "PairAlignment",
    "Thumbnails",
    "align_pair",
    "difference_mask",
    "find_forgeries",
    "ground_truth_mask",
    "mask_iou",
    "match_by_number",
    "match_by_time",
]
