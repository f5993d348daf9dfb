"""The samples of a split, read by index from shards of any format, and their batches: decoded uint8."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from facemill import ConfigError
from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.data.batching import paired
from facemill.pipeline.data.cache import CHANNELS, PixelCache
from facemill.pipeline.data.clips import find_clips
from facemill.pipeline.data.decode import decode_images
from facemill.pipeline.data.fields import MASK, images_of, values_of
from facemill.pipeline.data.reader import ImageReader
from facemill.pipeline.data.split import Roots, open_split

__all__ = ["FaceDataset", "Sample", "collate"]

Sample = dict[str, Any]
"""One face crop, by field; PyTorch's default collation stacks samples field by field.

image: uint8 [3, S, S], RGB; or the result of the dataset's `transform`.
label: 0 real, 1 fake.
index: the sample's row in the dataset's `samples`.
mask: uint8 [1, S, S], 255 where forged. If requested, as the following.
has_mask: whether the mask is known: true for reals, false for a fake without one.
Others: see `facemill.pipeline.data.fields`.
Of a clip, all fields but label and index are stacked over its frames: image [T, 3, S, S], has_mask [T] and so on.
"""


def collate(samples: Sequence[Sample]) -> ForgeryBatch:
    """Stack samples of equal size: the `collate_fn` of a `DataLoader` whose batches go to `prepare`."""
    # In a worker process, PyTorch's own collation stacks directly into shared memory.
    return ForgeryBatch(default_collate(list(samples)))


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
        exclude: ids of videos and samples to leave out, or a text file with one a line, as `facemill view` saves it.
        fields: what samples hold besides `image`, `label` and `index`: see `facemill.pipeline.data.fields`.
        transform: called with each image, uint8 [3, S, S], like torchvision's transforms; its result replaces the
            image. No other field is transformed. With `clip`, called with all images of a clip, [T, 3, S, S].
        clip: number of consecutive frames T: samples are clips of one track, [T, ...] in all fields but `label` and
            `index`. The crops of a clip have one affine if the dataset was built with `crop.steady`, and otherwise each
            its own. None for single crops.
        stride: with `clip`, use every n-th frame of the video.
        cache: folder for decoded crops, which are ten times as fast to read and take `S * S * 4` bytes each: see
            `facemill.pipeline.data.cache`.

    Attributes:
        samples: the rows of samples.parquet that are used; row i describes `self[i]`, or the first frame of that clip.
        labels: int64 [N], 0 real, 1 fake.
        crops: the rows of samples.parquet of all crops of the split that are used.
        rows: int64 [N, T], the rows of `crops` that each sample consists of; T is 1 for single crops.
        unused: number of crops that are in no clip.
        categories: for each field that is text, the words that its codes stand for.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or has no such split, field, or clip.
        ConfigError: if clips are to be made of some frames only, `exclude` has an unknown id or names all samples, or
            the cache has no space.
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
        exclude: str | Path | Iterable[str] = (),
        fields: Sequence[str] = (MASK,),
        transform: Callable[[Tensor], Any] | None = None,
        clip: int | None = None,
        stride: int = 1,
        cache: Path | str | None = None,
    ) -> None:
        if clip is not None and (frames is not None or every > 1):
            raise ConfigError("Clips are of consecutive frames: leave out frames and every, and use stride.")
        self._split = open_split(roots, split, frames=frames, every=every, seed=seed, rows=rows, exclude=exclude)
        names = images_of(self._split, fields)
        self._pixels = [name for name in names if name in CHANNELS]
        self._reader = ImageReader(self._split, names)
        self._cache = None if cache is None else PixelCache(Path(cache), self._split, names)
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

    def batch(self, indices: Sequence[int]) -> ForgeryBatch:
        """Read a batch, as `collate` stacks samples; without a transform, images are decoded into it and not copied.

        Raises:
            DatasetError: as for a sample.
        """
        if self._transform is not None:
            return collate(self.__getitems__(indices))
        return self._stacked(indices, _shared if get_worker_info() else torch.empty)

    def _transformed(self, sample: Sample) -> Sample:
        if self._transform is None:
            return sample
        return {**sample, "image": self._transform(sample["image"].clone())}  # a copy, which it may modify in place

    def _read(self, index: int) -> Sample:
        fields = {name: values[0] for name, values in self._stacked([index], torch.empty).items()}
        return {**fields, "label": int(fields["label"]), "index": index}

    def _stacked(self, indices: Sequence[int], new: Callable[..., Tensor]) -> ForgeryBatch:
        if odd := [index for index in indices if not 0 <= index < len(self)]:
            raise IndexError(f"There is no sample {odd[0]}: the dataset has {len(self)}.")
        samples, side = np.asarray(indices, np.int64), self._split.size
        rows = self.rows[samples].reshape(-1)
        pixels = {name: new((len(rows), CHANNELS[name], side, side), dtype=torch.uint8) for name in self._pixels}
        annotations: list[Mapping[str, Tensor]] = [{}] * len(rows)
        first: dict[int, int] = {}
        for place in np.argsort(rows, kind="stable").tolist():  # in file order
            row = int(rows[place])
            here = {name: images[place] for name, images in pixels.items()}
            if row not in first:
                annotations[place] = self._crop(row, here)
                first[row] = place
                continue
            for name, image in here.items():
                image.numpy()[:] = pixels[name][first[row]].numpy()
            annotations[place] = annotations[first[row]]
        batch = {
            **pixels,
            **{name: torch.stack([images[name] for images in annotations]) for name in annotations[0]},
            **{name: torch.as_tensor(values[rows]) for name, values in self._values.items()},
        }
        if not self._single:
            batch = {name: values.view(len(samples), -1, *values.shape[1:]) for name, values in batch.items()}
        return ForgeryBatch(batch, label=torch.as_tensor(self.labels[samples]), index=torch.as_tensor(samples))

    def _crop(self, row: int, into: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Fill in the image and the mask of a row, and return the images of annotations."""
        if self._cache is not None and self._cache.read(row, into):
            return {}
        annotations = decode_images(self._split, row, self._reader.read(row), into)
        if self._cache is not None:
            self._cache.write(row, into)
        return annotations


def _shared(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An empty tensor in shared memory, as PyTorch's own collation makes them in a loader's worker process."""
    storage: Any = torch.UntypedStorage
    storage = storage._new_shared(math.prod(shape) * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(*shape)
