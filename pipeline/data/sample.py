"""Samples and batches of face crops as datasets return them: decoded uint8, before conversion to float."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

__all__ = ["RawBatch", "Sample", "collate"]


class Sample(NamedTuple):
    """One face crop; a named tuple, so that PyTorch's default collation stacks samples field by field.

    Attributes:
        image: uint8 [3, S, S], RGB; or the result of the dataset's `transform`.
        mask: uint8 [1, S, S], 255 where forged; all zero if not known.
        label: 0 real, 1 fake.
        has_mask: whether the mask is known: true for reals, false for a fake without one.
        index: the sample's row in the dataset's `samples`.
        annotations: the requested ones by name: images uint8 [C, h, w], numbers float32 [] (NaN if not known), vectors
            float32 [N].
    """

    image: Tensor
    mask: Tensor
    label: int
    has_mask: bool
    index: int  # type: ignore[assignment]  # hides `tuple.index`, which is not needed here
    annotations: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Stacked samples in uint8, a quarter of the size of floats: converted only after the copy to a GPU.

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
        """Copy the batch to another device; from pinned memory, without blocking."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "RawBatch":
        """Copy the batch to pinned memory; called by `DataLoader(pin_memory=True)`."""
        return self._each(Tensor.pin_memory)

    def __len__(self) -> int:
        return len(self.labels)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "RawBatch":
        tensors = self.images, self.masks, self.labels, self.has_mask, self.index
        images, masks, labels, has_mask, index = map(change, tensors)
        annotations = {name: change(one) for name, one in self.annotations.items()}
        return RawBatch(images, masks, labels, has_mask, index, annotations)


def collate(samples: Sequence[Sample]) -> RawBatch:
    """Stack samples of equal size: the `collate_fn` of a `DataLoader` whose batches go to `prepare`."""
    # In a worker process, PyTorch's own collation stacks directly into shared memory.
    annotations = default_collate([dict(sample.annotations) for sample in samples])
    images, masks, labels, has_mask, index = default_collate([sample[:-1] for sample in samples])
    return RawBatch(images, masks, labels, has_mask, index, annotations)
