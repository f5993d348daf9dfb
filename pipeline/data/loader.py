"""Loading of batches of face crops in worker processes."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Dataset

from facemill import FacemillError
from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.data.dataset import FaceDataset

__all__ = ["FaceLoader", "default_workers"]

MAX_WORKERS = 8


def default_workers(devices: int) -> int:
    """Default number of data-loading workers per device: the cores divided among the devices, 1 to 8."""
    return min(MAX_WORKERS, max(1, len(os.sched_getaffinity(0)) // devices))


class FaceLoader(DataLoader[Any]):
    """A `DataLoader` of uint8 batches, in which a damaged sample raises the same message with and without workers.

    With `threads`, workers are threads of this process. They take a fifth less CPU, since batches need no copy in
    shared memory, and start at once; but next to a GPU, the thread that starts its kernels would wait for them.

    PyTorch puts a whole traceback into the message of an error raised in a worker. Here workers return
    `FacemillError`s as values, which are raised in the main process.

    Raises (when iterated):
        DatasetError: naming shard and row, if a sample is missing, damaged or a different one.
    """

    def __init__(self, faces: FaceDataset, *, num_workers: int = 0, threads: bool = False, **options: Any) -> None:
        self._threads = num_workers if threads else 0
        processes = num_workers - self._threads
        self._guarded = _Guarded(faces)
        super().__init__(self._guarded, collate_fn=_as_it_is, num_workers=processes, **options)

    def __iter__(self) -> Iterator[ForgeryBatch]:  # type: ignore[override]  # PyTorch names a private class
        for batch in self._in_threads() if self._threads else super().__iter__():
            if isinstance(batch, FacemillError):
                # The error's traceback refers to this loader for as long as somebody keeps the error. Workers that are
                # left to Python's collector of cycles may take PyTorch five seconds each to end: they end now.
                self._iterator = None
                try:
                    raise batch
                finally:
                    del batch  # the frame refers to the error, and the error to the frame
            yield batch

    def _in_threads(self) -> Iterator[ForgeryBatch | FacemillError]:
        """Batches made in threads, in order, twice as many ahead as there are threads."""
        batches: Iterator[list[int]] = iter(self._index_sampler)
        pool = ThreadPoolExecutor(self._threads, "facemill-loading")
        try:
            ahead = deque(pool.submit(self._make, indices) for indices in islice(batches, 2 * self._threads))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(pool.submit(self._make, indices) for indices in islice(batches, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

    def _make(self, indices: list[int]) -> ForgeryBatch | FacemillError:
        batch = self._guarded.__getitems__(indices)
        return batch.pin_memory() if self.pin_memory and isinstance(batch, ForgeryBatch) else batch


class _Guarded(Dataset[Any]):
    def __init__(self, faces: FaceDataset) -> None:
        self._faces = faces

    def __len__(self) -> int:
        return len(self._faces)

    def __getitems__(self, indices: Sequence[int]) -> ForgeryBatch | FacemillError:
        try:
            return self._faces.batch(indices)
        except FacemillError as error:
            # Bare: where Dask is in use, tracebacks are sent along, and what is remade of them keeps the loader.
            return type(error)(*error.args)


def _as_it_is(batch: Any) -> Any:
    return batch
