"""Samples of face crops as datasets return them, and their batches: decoded uint8, before conversion to float."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import default_collate

from facemill.detectors.forgery import ForgeryBatch

__all__ = ["Sample", "collate"]

Sample = dict[str, Any]
"""One face crop, by field; PyTorch's default collation stacks samples field by field.

image: uint8 [3, S, S], RGB; or the result of the dataset's `transform`.
label: 0 real, 1 fake.
index: the sample's row in the dataset's `samples`.
mask: uint8 [1, S, S], 255 where forged. If requested, as the following.
has_mask: whether the mask is known: true for reals, false for a fake without one.
Others: see `facemill.pipeline.data.fields`.
Of a clip, all fields but label and index are stacked over its frames: image [T, 3, S, S], has_mask [T] and so on.
"""


def collate(samples: Sequence[Sample]) -> ForgeryBatch:
    """Stack samples of equal size: the `collate_fn` of a `DataLoader` whose batches go to `prepare`."""
    # In a worker process, PyTorch's own collation stacks directly into shared memory.
    return ForgeryBatch(default_collate(list(samples)))
