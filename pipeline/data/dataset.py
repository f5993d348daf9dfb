"""The samples of a split, read by index from shards of any format."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from facemill.pipeline.data.batching import paired
from facemill.pipeline.data.decode import decode_images
from facemill.pipeline.data.fields import MASK, images_of, values_of
from facemill.pipeline.data.reader import ImageReader
from facemill.pipeline.data.sample import Sample
from facemill.pipeline.data.split import Roots, open_split

__all__ = ["FaceDataset"]


class FaceDataset(Dataset[Sample]):
    """The samples of a split, map-style.

    Examples:
        >>> faces = facemill.open_dataset("shards", "train")
        >>> faces[0]["image"].dtype
        torch.uint8

    No file is kept open, so the dataset can be pickled, forked and spawned.

    Args:
        roots: folder of a built dataset, or several, whose samples are concatenated.
        split: `train`, `val` or `test`.
        frames: maximum crops per video, chosen once by `seed`; None for all.
        every: use every n-th sampled frame of a video.
        rows: what must hold for the samples used: see `facemill.pipeline.data.split.chosen_rows`.
        fields: what samples hold besides `image`, `label` and `index`: see `facemill.pipeline.data.fields`.
        transform: called with each image, uint8 [3, S, S], like torchvision's transforms; its result replaces the
            image. No other field is transformed.

    Attributes:
        samples: the rows of samples.parquet that are used; row i describes `self[i]`.
        labels: int64 [N], 0 real, 1 fake.
        categories: for each field that is text, the words that its codes stand for.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or has no such split or field.
    """

    def __init__(
        self,
        roots: Roots,
        split: str,
        *,
        frames: int | None = None,
        every: int = 1,
        seed: int = 0,
        rows: pc.Expression | None = None,
        fields: Sequence[str] = (MASK,),
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self._split = open_split(roots, split, frames=frames, every=every, seed=seed, rows=rows)
        self._reader = ImageReader(self._split, images_of(self._split, fields))
        self._values, self.categories = values_of(self._split, fields)
        self._transform = transform

    @property
    def samples(self) -> pa.Table:
        return self._split.samples

    @property
    def labels(self) -> NDArray[np.int64]:
        return self._split.labels

    def pairs(self) -> NDArray[np.int64]:
        """Indices of each fake crop's real counterpart, of the same face and frame, and of the fake, [P, 2]."""
        return paired(self.samples, self.labels)

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Sample:
        """Read, decode and transform a sample.

        Raises:
            DatasetError: naming shard and row, if the sample is missing, damaged or a different one.
        """
        return self._transformed(self._read(index))

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Read a batch in file order, which is faster on disks and networks; returned in the requested order."""
        samples = {index: self._read(index) for index in sorted(set(indices))}
        return [self._transformed(samples[index]) for index in indices]

    def _transformed(self, sample: Sample) -> Sample:
        if self._transform is None:
            return sample
        return {**sample, "image": self._transform(sample["image"].clone())}  # a copy, which it may modify in place

    def _read(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"There is no sample {index}: the dataset has {len(self)}.")
        images = decode_images(self._split, index, self._reader.read(index))
        values = {name: torch.as_tensor(values[index]) for name, values in self._values.items()}
        return {**images, "label": int(self.labels[index]), "index": index, **values}
