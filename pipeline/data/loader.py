"""Batches of face crops, read in other processes."""

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
    """A `DataLoader` of `RawBatch`es, in which a damaged sample raises the same sentence from every process.

    PyTorch makes an error's message a whole traceback where a worker has raised it; here errors of ours travel
    as values, and are raised on arrival.

    Raises (when iterated):
        DatasetError: naming shard and row, where a sample is missing, damaged or another one.
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
            # A batch that is not full may be dropped: the error fills whole ones, of which the first is raised.
            yield from itertools.repeat(error)


def _collate(samples: Sequence[Any] | FacemillError) -> RawBatch | FacemillError:
    if isinstance(samples, FacemillError):
        return samples
    error = next((sample for sample in samples if isinstance(sample, FacemillError)), None)
    return error if error is not None else collate(samples)
