"""Loading of batches of face crops in worker processes."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from facemill import FacemillError
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.sample import RawBatch, Sample, collate
from facemill.pipeline.data.stream import StreamingFaces

__all__ = ["FaceLoader"]


class FaceLoader(DataLoader[Any]):
    """A `DataLoader` of `RawBatch`es, in which a damaged sample raises the same message with and without workers.

    PyTorch puts a whole traceback into the message of an error raised in a worker. Here workers return
    `FacemillError`s as values, which are raised in the main process.

    Raises (when iterated):
        DatasetError: naming shard and row, if a sample is missing, damaged or a different one.
    """

    def __init__(self, faces: FaceDataset | StreamingFaces, **options: Any) -> None:
        guarded = _GuardedStream(faces) if isinstance(faces, StreamingFaces) else _GuardedRows(faces)
        super().__init__(guarded, collate_fn=_collate, **options)

    def __iter__(self) -> Iterator[RawBatch]:  # type: ignore[override]  # PyTorch names a private class
        for batch in super().__iter__():
            if isinstance(batch, FacemillError):
                raise batch
            yield batch


class _GuardedRows(Dataset[Any]):
    def __init__(self, faces: FaceDataset) -> None:
        self._faces = faces

    def __len__(self) -> int:
        return len(self._faces)

    def __getitems__(self, indices: Sequence[int]) -> list[Sample] | FacemillError:
        try:
            return self._faces.__getitems__(indices)
        except FacemillError as error:
            return error


class _GuardedStream(IterableDataset[Any]):
    def __init__(self, faces: StreamingFaces) -> None:
        self._faces = faces

    def __iter__(self) -> Iterator[Sample | FacemillError]:
        try:
            yield from self._faces
        except FacemillError as error:
            # Repeated, since `drop_last` would drop an incomplete batch and with it the error.
            yield from itertools.repeat(error)


def _collate(samples: Sequence[Any] | FacemillError) -> RawBatch | FacemillError:
    if isinstance(samples, FacemillError):
        return samples
    error = next((sample for sample in samples if isinstance(sample, FacemillError)), None)
    return error if error is not None else collate(samples)
