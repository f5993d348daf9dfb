"""Loading of batches of face crops in worker processes."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from facemill import FacemillError
from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.sample import Sample, collate

__all__ = ["FaceLoader", "default_workers"]

MAX_WORKERS = 8


def default_workers(devices: int) -> int:
    """Default number of data-loading workers per device: the cores divided among the devices, 1 to 8."""
    return min(MAX_WORKERS, max(1, len(os.sched_getaffinity(0)) // devices))


class FaceLoader(DataLoader[Any]):
    """A `DataLoader` of uint8 batches, in which a damaged sample raises the same message with and without workers.

    PyTorch puts a whole traceback into the message of an error raised in a worker. Here workers return
    `FacemillError`s as values, which are raised in the main process.

    Raises (when iterated):
        DatasetError: naming shard and row, if a sample is missing, damaged or a different one.
    """

    def __init__(self, faces: FaceDataset, **options: Any) -> None:
        super().__init__(_Guarded(faces), collate_fn=_collate, **options)

    def __iter__(self) -> Iterator[ForgeryBatch]:  # type: ignore[override]  # PyTorch names a private class
        for batch in super().__iter__():
            if isinstance(batch, FacemillError):
                # The error's traceback refers to this loader for as long as somebody keeps the error. Workers that are
                # left to Python's collector of cycles may take PyTorch five seconds each to end: they end now.
                self._iterator = None
                try:
                    raise batch
                finally:
                    del batch  # the frame refers to the error, and the error to the frame
            yield batch


class _Guarded(Dataset[Any]):
    def __init__(self, faces: FaceDataset) -> None:
        self._faces = faces

    def __len__(self) -> int:
        return len(self._faces)

    def __getitems__(self, indices: Sequence[int]) -> list[Sample] | FacemillError:
        try:
            return self._faces.__getitems__(indices)
        except FacemillError as error:
            # Bare: where Dask is in use, tracebacks are sent along, and what is remade of them keeps the loader.
            return type(error)(*error.args)


def _collate(samples: list[Sample] | FacemillError) -> ForgeryBatch | FacemillError:
    return samples if isinstance(samples, FacemillError) else collate(samples)
