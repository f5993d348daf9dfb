"""What was forged: masks from real/fake pairs and from datasets' own mask videos.

All frames are uint8 RGB [H, W, 3], all masks uint8 [H, W] of 0 and 255. Arrays that do not fit raise
ValueError. Nothing here needs torch.
"""

from facemill.masks.alignment import AlignmentKind, PairAlignment, Thumbnails, align_pair
from facemill.masks.difference import difference_mask, luma_difference, mask_from_difference, mask_iou
from facemill.masks.face_difference import FaceDifference, measure_face, measure_faces
from facemill.masks.forgery import FORGED_SCORE, FaceForgery, find_forgeries
from facemill.masks.ground_truth import ground_truth_mask
from facemill.masks.pair_times import match_by_time

__all__ = [
    "FORGED_SCORE",
    "AlignmentKind",
    "FaceDifference",
    "FaceForgery",
    "PairAlignment",
    "Thumbnails",
    "align_pair",
    "difference_mask",
    "find_forgeries",
    "ground_truth_mask",
    "luma_difference",
    "mask_from_difference",
    "mask_iou",
    "match_by_time",
    "measure_face",
    "measure_faces",
]
