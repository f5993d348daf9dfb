"""Built datasets as PyTorch reads them: samples, balance, augmentation, batches, and Lightning's data module."""

from typing import TYPE_CHECKING, Any

from facemill.pipeline.data.augment import Augmentation
from facemill.pipeline.data.balance import BalancedSampler
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.loader import FaceLoader
from facemill.pipeline.data.opening import open_faces
from facemill.pipeline.data.prepare import prepare
from facemill.pipeline.data.sample import RawBatch, Sample, collate
from facemill.pipeline.data.stream import StreamingFaces

if TYPE_CHECKING:
    from facemill.pipeline.data.module import FaceDataModule

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
        from facemill.pipeline.data.module import FaceDataModule

        return FaceDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
