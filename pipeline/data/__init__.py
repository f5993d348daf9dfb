"""Built datasets as PyTorch reads them: samples, balance, augmentation, batches, and Lightning's data module."""

from typing import TYPE_CHECKING, Any

from pipeline.data.augment import Augmentation
from pipeline.data.balance import BalancedSampler
from pipeline.data.dataset import FaceDataset
from pipeline.data.loader import FaceLoader
from pipeline.data.opening import open_faces
from pipeline.data.prepare import prepare
from pipeline.data.sample import RawBatch, Sample, collate
from pipeline.data.stream import StreamingFaces

if TYPE_CHECKING:
    from pipeline.data.module import FaceDataModule

__all__ = [
    "Augmentation",
    "BalancedSampler",
    "FaceDataModule",
    "FaceDataset",
    "FaceLoader",
    "RawBatch",
    "Sample",
    "StreamingFaces",
    "collate",
    "open_faces",
    "prepare",
]


def __getattr__(name: str) -> Any:
    if name == "FaceDataModule":  # only now, because importing Lightning takes seconds
        from pipeline.data.module import FaceDataModule

        return FaceDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
