"""Users' own augmentations of training batches, beside those of `facemill.pipeline.data.augment`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from facemill.detectors.forgery import ForgeryBatch
from facemill.options import Options, check_options
from facemill.registry import TRANSFORMS

__all__ = ["Transform", "create_transforms"]


class Transform(ABC):
    """Changes training batches on their device, after all other augmentations and before normalisation.

    Args:
        options: an instance of `options_type`.
    """

    options_type: ClassVar[type[Options]] = Options

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def __call__(self, batch: ForgeryBatch, rng: np.random.Generator) -> None:
        """Replace fields of a batch; their tensors must not be modified in place.

        Args:
            batch: images float [B, 3, H, W], RGB in 0..1; masks float [B, 1, H, W], if loaded.
            rng: seeded for this step and rank; a resumed run repeats its numbers.
        """


def create_transforms(wanted: Mapping[str, Mapping[str, Any]]) -> list[Transform]:
    """Create the transforms of `train.augment.more`, in its order.

    Raises:
        ConfigError: if a name, an option or a value is unknown.
    """
    kinds = {name: TRANSFORMS[name] for name in wanted}
    return [kind(check_options(name, kind.options_type, wanted[name])) for name, kind in kinds.items()]
