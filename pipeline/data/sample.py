"""What datasets give: one face crop, and a batch of them, as decoded and before any float arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

__all__ = ["RawBatch", "Sample", "collate"]


class Sample(NamedTuple):
    """One face crop; a named tuple, so that PyTorch's default collating stacks samples field by field.

    Attributes:
        image: uint8 [3, S, S], RGB; or what the dataset's `transform` made of it.
        mask: uint8 [1, S, S], 255 where forged; all zero where nobody knows.
        label: 0 real, 1 fake.
        has_mask: whether the mask is known: true for reals, false for a fake without one.
        index: the sample's row in the dataset's `samples`.
    """

    image: Tensor
    mask: Tensor
    label: int
    has_mask: bool
    index: int  # type: ignore[assignment]  # hides `tuple.index`, which nobody needs here


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Samples stacked; small enough to move to a GPU before it becomes floats there.

    Attributes:
        images: uint8 [B, 3, S, S].
        masks: uint8 [B, 1, S, S].
        labels: int64 [B].
        has_mask: bool [B].
        index: int64 [B].
    """

    images: Tensor
    masks: Tensor
    labels: Tensor
    has_mask: Tensor
    index: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> "RawBatch":
        """The batch on another device; the copy from pinned memory does not wait."""
        return RawBatch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self._tensors()))

    def pin_memory(self) -> "RawBatch":
        """What `DataLoader(pin_memory=True)` calls."""
        return RawBatch(*(tensor.pin_memory() for tensor in self._tensors()))

    def __len__(self) -> int:
        return len(self.labels)

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.images, self.masks, self.labels, self.has_mask, self.index


def collate(samples: Sequence[Sample]) -> RawBatch:
    """Stack samples of one size: the `collate_fn` of a `DataLoader` whose batches are meant for `prepare`."""
    # PyTorch's own collating stacks right into shared memory where a worker process does it.
    return RawBatch(*default_collate(list(samples)))
