"""What datasets give: one face crop, and a batch of them, as decoded and before any float arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
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
        annotations: those that were asked for, by name: uint8 [C, h, w] of images, float32 [] of numbers (NaN where not
            known) and [N] of vectors.
    """

    image: Tensor
    mask: Tensor
    label: int
    has_mask: bool
    index: int  # type: ignore[assignment]  # hides `tuple.index`, which nobody needs here
    annotations: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Samples stacked; small enough to move to a GPU before it becomes floats there.

    Attributes:
        images: uint8 [B, 3, S, S].
        masks: uint8 [B, 1, S, S].
        labels: int64 [B].
        has_mask: bool [B].
        index: int64 [B].
        annotations: those of `Sample`, stacked.
    """

    images: Tensor
    masks: Tensor
    labels: Tensor
    has_mask: Tensor
    index: Tensor
    annotations: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> "RawBatch":
        """The batch on another device; the copy from pinned memory does not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "RawBatch":
        """What `DataLoader(pin_memory=True)` calls."""
        return self._each(Tensor.pin_memory)

    def __len__(self) -> int:
        return len(self.labels)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "RawBatch":
        tensors = self.images, self.masks, self.labels, self.has_mask, self.index
        images, masks, labels, has_mask, index = map(change, tensors)
        annotations = {name: change(one) for name, one in self.annotations.items()}
        return RawBatch(images, masks, labels, has_mask, index, annotations)


def collate(samples: Sequence[Sample]) -> RawBatch:
    """Stack samples of one size: the `collate_fn` of a `DataLoader` whose batches are meant for `prepare`."""
    # PyTorch's own collating stacks right into shared memory where a worker process does it.
    annotations = default_collate([dict(sample.annotations) for sample in samples])
    images, masks, labels, has_mask, index = default_collate([sample[:-1] for sample in samples])
    return RawBatch(images, masks, labels, has_mask, index, annotations)
