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

from facemill import ConfigError
from facemill.pipeline.data.batching import paired
from facemill.pipeline.data.clips import find_clips
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
            image. No other field is transformed. With `clip`, called with all images of a clip, [T, 3, S, S].
        clip: number of consecutive frames T: samples are clips of one track, [T, ...] in all fields but `label` and
            `index`. The crops of a clip have one affine if the dataset was built with `crop.steady`, and otherwise each
            its own. None for single crops.
        stride: with `clip`, use every n-th frame of the video.

    Attributes:
        samples: the rows of samples.parquet that are used; row i describes `self[i]`, or the first frame of that clip.
        labels: int64 [N], 0 real, 1 fake.
        crops: the rows of samples.parquet of all crops of the split that are used.
        rows: int64 [N, T], the rows of `crops` that each sample consists of; T is 1 for single crops.
        unused: number of crops that are in no clip.
        categories: for each field that is text, the words that its codes stand for.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or has no such split, field, or clip.
        ConfigError: if clips are to be made of some frames only.
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
        clip: int | None = None,
        stride: int = 1,
    ) -> None:
        if clip is not None and (frames is not None or every > 1):
            raise ConfigError("Clips are of consecutive frames: leave out frames and every, and use stride.")
        self._split = open_split(roots, split, frames=frames, every=every, seed=seed, rows=rows)
        self._reader = ImageReader(self._split, images_of(self._split, fields))
        self._values, self.categories = values_of(self._split, fields)
        self._transform = transform
        self.crops = self._split.samples
        self._single = clip is None
        self.rows = np.arange(len(self._split))[:, None] if clip is None else find_clips(self.crops, clip, stride)
        self.samples = self.crops if self._single else self.crops.take(self.rows[:, 0])
        self.labels = self._split.labels[self.rows[:, 0]]
        self.unused = len(self.crops) - self.rows.size

    def divided(self) -> tuple[pa.Table, pa.Table]:
        """The rows of `crops` that samples consist of, and those that are in no clip."""
        used = np.zeros(len(self.crops), bool)
        used[self.rows] = True
        return self.crops.filter(pa.array(used)), self.crops.filter(pa.array(~used))

    def pairs(self) -> NDArray[np.int64]:
        """Indices of each fake crop's real counterpart, of the same face and frame, and of the fake, [P, 2]."""
        return paired(self.samples, self.labels)

    def __len__(self) -> int:
        return len(self.labels)

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
        label = {"label": int(self.labels[index]), "index": index}
        crops = [self._crop(row) for row in self.rows[index].tolist()]
        if self._single:
            return {**crops[0], **label}
        return {**{name: torch.stack([crop[name] for crop in crops]) for name in crops[0]}, **label}

    def _crop(self, row: int) -> dict[str, Tensor]:
        images = decode_images(self._split, row, self._reader.read(row))
        return {**images, **{name: torch.as_tensor(values[row]) for name, values in self._values.items()}}
