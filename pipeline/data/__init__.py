"""Built datasets for PyTorch: samples, balancing, augmentation, batches, and Lightning's data module."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facemill.pipeline.data.batching import BalancedSampler
from facemill.pipeline.data.dataset import FaceDataset, Sample, collate
from facemill.pipeline.data.loader import FaceLoader

if TYPE_CHECKING:
    from facemill.pipeline.data.augment import Augmentation
    from facemill.pipeline.data.batches import prepare
    from facemill.pipeline.data.module import TrainingData

__all__ = [
    "Augmentation",
    "BalancedSampler",
    "FaceDataset",
    "FaceLoader",
    "Sample",
    "TrainingData",
    "collate",
    "prepare",
]

# These need the `train` extra, which reading a dataset does not, and take seconds to import.
_LAZY = {"Augmentation": "augment", "TrainingData": "module", "prepare": "batches"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
