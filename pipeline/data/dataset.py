"""Random access to the samples of Parquet shards."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from facemill import DatasetError
from facemill.pipeline.data.decode import decode_sample, names_to_read
from facemill.pipeline.data.parquet_pages import GroupedShard, ShardIndex, open_shard
from facemill.pipeline.data.sample import Sample
from facemill.pipeline.data.split import Roots, open_split

__all__ = ["FaceDataset"]


class FaceDataset(Dataset[Sample]):
    """The samples of a split, map-style.

    Examples:
        >>> faces = facemill.open_dataset("shards", "train")
        >>> faces[0].image.dtype
        torch.uint8

    No file is kept open, so the dataset can be pickled, forked and spawned. Each process indexes a shard on
    first use (milliseconds), and from then on reads only the requested image and mask.

    Args:
        roots: folder of a built dataset with Parquet shards, or several, whose samples are concatenated.
        split: `train`, `val` or `test`.
        frames: maximum crops per video, chosen once by `seed`; None for all.
        every: use every n-th sampled frame of a video.
        masks: read forgery masks; otherwise they are zeros and `has_mask` is false.
        annotations: names of annotations to add to samples; all except images are also in `samples`.
        transform: called with each image, uint8 [3, S, S], like torchvision's transforms; its result replaces the
            image. The mask is not transformed.

    Attributes:
        samples: the rows of samples.parquet that are used; row i describes `self[i]`.
        labels: int64 [N], 0 real, 1 fake.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or has no such split or annotation.
    """

    def __init__(
        self,
        roots: Roots,
        split: str,
        *,
        frames: int | None = None,
        every: int = 1,
        seed: int = 0,
        masks: bool = True,
        annotations: Sequence[str] = (),
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self._split = open_split(roots, split, frames=frames, every=every, seed=seed)
        self._split.check_annotations(annotations)
        self._annotations, self._transform = tuple(annotations), transform
        self._image_names = tuple(names_to_read(self._split, annotations, masks=masks))
        self._shards: dict[Path, ShardIndex | GroupedShard] = {}

    @property
    def samples(self) -> pa.Table:
        return self._split.samples

    @property
    def labels(self) -> NDArray[np.int64]:
        return self._split.labels

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
        return sample._replace(image=self._transform(sample.image.clone()))  # a copy, which it may modify in place

    def _read(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"There is no sample {index}: the dataset has {len(self)}.")
        split = self._split
        path, row = split.shards[split.shard[index]], split.row[index]
        if path not in self._shards:
            self._shards[path] = open_shard(path, split.size, self._image_names)
        shard = self._shards[path]
        if row >= len(shard.sample_ids):
            raise DatasetError(f"{split.place(index)} is missing, the shard ends before it: build the dataset again.")
        try:
            encoded = dict(zip(self._image_names, shard.read(int(row), self._image_names), strict=True))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetError(f"{split.place(index)} cannot be read ({error}): build the dataset again.") from error
        return decode_sample(split, index, shard.sample_ids[row].as_py(), encoded, self._annotations)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}
