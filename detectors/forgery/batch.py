"""The batch that detectors and their losses receive: an open mapping of named fields."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ForgeryBatch"]


class ForgeryBatch(dict[str, Tensor]):
    """A batch of face crops: fields by name, each stacked over the samples, [B, ...].

    From the dataset to the loss a batch is this one mapping. A loss that needs more than the fields below names them in
    its detector's `fields`, and finds them here under the same names: columns of samples.parquet, `pair`, annotations
    (see `facemill.pipeline.data.fields`).

    Examples:
        >>> batch = ForgeryBatch(image=torch.zeros(2, 3, 8, 8), label=torch.tensor([0.0, 1.0]))
        >>> batch.size, batch.masks
        (2, None)

    Fields that are attributes as well:
        image: `images` [B, 3, H, W]; uint8 as stored, float and normalised as the detector's `input_spec` says once
            it is prepared.
        label: `labels` [B], 0 real, 1 fake; once prepared float, and between 0 and 1 for images combined by mixup.
        mask: `masks` [B, 1, H, W], uint8 0 or 255 as stored, float 1 where forged once prepared; None if not loaded.
        has_mask: bool [B], whether a sample's mask is known: true for reals (all zero), false for a fake without an
            original. None if masks are not loaded.
        index: int64 [B], the rows of the dataset's `samples`.
    """

    @property
    def images(self) -> Tensor:
        return self["image"]

    @property
    def labels(self) -> Tensor:
        return self["label"]

    @property
    def masks(self) -> Tensor | None:
        return self.get("mask")

    @property
    def has_mask(self) -> Tensor | None:
        return self.get("has_mask")

    @property
    def index(self) -> Tensor:
        return self["index"]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def replace(self, **fields: Tensor) -> "ForgeryBatch":
        """A copy with other values of some fields."""
        return ForgeryBatch({**self, **fields})

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> "ForgeryBatch":
        """Copy the batch to another device; from pinned memory, without blocking."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "ForgeryBatch":
        """Copy the batch to pinned memory; called by `DataLoader(pin_memory=True)`."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "ForgeryBatch":
        return ForgeryBatch({name: change(values) for name, values in self.items()})
