"""Users' own augmentations of training batches, beside those of `facemill.pipeline.data.augment`."""

from abc import ABC, abstractmethod

import numpy as np

from facemill.detectors.forgery import ForgeryBatch
from facemill.options import Configurable

__all__ = ["Transform"]


class Transform(Configurable, ABC):
    """Changes training batches on their device, after all other augmentations and before normalisation."""

    @abstractmethod
    def __call__(self, batch: ForgeryBatch, rng: np.random.Generator) -> None:
        """Replace fields of a batch; their tensors must not be modified in place.

        Args:
            batch: images float [B, 3, H, W], RGB in 0..1; masks float [B, 1, H, W], if loaded. Of clips
                [B, T, 3, H, W] and [B, T, 1, H, W].
            rng: seeded for this step and rank; a resumed run repeats its numbers.
        """
