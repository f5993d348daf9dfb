"""The rows of samples.parquet as columns, joined with their videos and originals."""

from collections.abc import Collection, Mapping
from functools import cache, cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, PositiveInt, ValidationError

from facemill import DatasetError
from facemill.manifests.checks.columns import Column, Mask, codes, joined, mask, pc, places
from facemill.manifests.schemas import FACTS
from facemill.registry import SHARD_FORMATS, nearest

__all__ = ["RecipeFacts", "Rows", "differs", "recipe_facts"]


def _known_format(name: str) -> str:
    if name not in SHARD_FORMATS:
        raise ValueError(f"there is no shard format {name!r}{nearest(name, SHARD_FORMATS)}")
    return name


class _Sample(BaseModel):
    strategy: str
    frames: PositiveInt | None
    every: PositiveInt | None


class _Detect(BaseModel):
    on: Literal["pristine", "each"]
    min_score: float


class _Label(BaseModel):
    unforged: Literal["drop", "keep_as_real", "keep_as_fake"]


class _Crop(BaseModel):
    size: PositiveInt
    scale: float
    align: Literal["none", "similarity"]
    around: Literal["face", "mask"]
    steady: bool = False  # earlier versions had no such key


class _Mask(BaseModel):
    source: Literal["difference", "official", "both"]


class _Filter(BaseModel):
    min_face: float
    min_sharpness: float


class _Encode(BaseModel):
    format: Literal["png", "jpeg", "webp"]
    quality: int


class _Shards(BaseModel):
    format: Annotated[str, AfterValidator(_known_format)]
    samples_per_shard: PositiveInt | None


class RecipeFacts(BaseModel):
    """The recipe's settings that can be checked in the samples; other keys are ignored."""

    name: str
    seed: int
    sample: _Sample
    detect: _Detect
    crop: _Crop
    mask: _Mask
    filter: _Filter
    encode: _Encode
    shards: _Shards
    label: _Label | None = None  # earlier versions had no such section


def recipe_facts(recipe: Mapping[str, Any]) -> RecipeFacts:
    """Extract the checkable settings from a dataset's recipe.

    Raises:
        DatasetError: names the first missing or invalid key.
    """
    try:
        return RecipeFacts.model_validate(dict(recipe))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise DatasetError(f"its recipe is not complete ({where}: {fault['msg']})") from None


class Rows:
    """Samples by column, with the values of each sample's video and original.

    Args:
        samples: rows of samples.parquet.
        videos: rows of videos.parquet.
        incomplete: videos that may lack samples of some frames, as failures.parquet records.
        facts: rows of facts.parquet, if there are any.
    """

    def __init__(
        self,
        samples: pa.Table,
        videos: pa.Table,
        recipe: RecipeFacts,
        incomplete: Collection[str] = (),
        facts: pa.Table | None = None,
    ) -> None:
        self._facts = FACTS.empty_table() if facts is None else facts.combine_chunks()
        self.incomplete = pa.array(sorted(incomplete), pa.string())
        self.table, self.recipe, self._videos = samples.combine_chunks(), recipe, videos.combine_chunks()
        self.numbers = cache(self._numbers)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, name: str) -> Column:
        return self.table[name]

    def _numbers(self, name: str) -> NDArray[Any]:
        """A column [N], or a column of vectors [N, size]; nulls are NaN."""
        column = self.table[name].combine_chunks()
        if isinstance(column, pa.FixedSizeListArray):
            return np.asarray(column.flatten().to_numpy()).reshape(-1, column.type.list_size)
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def equal(self, name: str, value: str | int) -> Mask:
        """Whether the column equals the value, [N]."""
        return mask(pc.equal(self.table[name], value))

    def known(self, name: str) -> Mask:
        """Whether the column is not null, [N]."""
        return mask(pc.is_valid(self.table[name]))

    @cached_property
    def video_row(self) -> NDArray[np.int64]:
        """Row of each sample's video in videos.parquet, -1 if missing, [N]."""
        return places(self.table["video_id"], self._videos["video_id"])

    @cached_property
    def original(self) -> NDArray[np.int64]:
        """Position of the original's sample of the same track and matching frame, -1 if there is none, [N]."""
        frame = pc.subtract(self.table["frame_index"], self.table["pair_offset"])
        there = joined(self["video_id"], self["frame_index"], self["track_id"])
        return places(joined(self["source_id"], frame, self["track_id"]), there)

    @cached_property
    def paired(self) -> Mask:
        """Whether a sample's original has a matching sample, [N]."""
        return self.original >= 0

    @cached_property
    def apart(self) -> Mask:
        """Whether a sample's original is in another split, or in none, and so may lack samples of its frames, [N]."""
        row = places(self.table["source_id"], self._videos["video_id"])
        split = pc.take(self._videos["split"], pa.array(row, mask=row < 0))
        return mask(pc.not_equal(split, self.table["split"]))

    @cached_property
    def resized(self) -> NDArray[np.float64]:
        """Ratio of the frame heights of a sample's video and its original, [N]; 1 where one is unknown."""
        rows = [places(self.table[name], self._facts["video_id"]) for name in ("video_id", "source_id")]
        own, original = (pc.take(self._facts["height"], pa.array(row, mask=row < 0)) for row in rows)
        return np.asarray(pc.fill_null(pc.divide(own.cast(pa.float64()), original), 1.0))

    @cached_property
    def cropped(self) -> Mask:
        """Whether a sample is a face crop of the dataset, on which no detector was run, [N]."""
        return np.asarray(~self.numbers("landmarks").any(axis=1) & (self.numbers("score") == 0))

    @cached_property
    def tracks(self) -> NDArray[np.int64]:
        """Number of each row's (video, track) pair, [N]."""
        return codes(joined(self["video_id"], self["track_id"]))

    @cached_property
    def video_codes(self) -> NDArray[np.int64]:
        """Number of each row's video, [N]."""
        return codes(self["video_id"])

    def of_video(self, name: str) -> Column:
        """A column of each sample's video, null if the video is unknown."""
        return pc.take(self._videos[name], pa.array(self.video_row, mask=self.video_row < 0))

    def of_original(self, name: str) -> NDArray[Any]:
        """A numeric column of each sample's original; of the sample itself if it has none."""
        return np.asarray(self.numbers(name)[np.where(self.paired, self.original, np.arange(len(self)))])

    def values(self, position: int) -> dict[str, Any]:
        """A row's values by column name, for messages."""
        [row] = self.table.slice(position, 1).to_pylist()
        return dict(row)


def differs(left: Column, right: Column) -> Mask:
    """Where two columns of equal type differ, [N]; nulls are equal."""
    left, right = _scalars(left), _scalars(right)
    if isinstance(left, np.ndarray):
        return np.asarray(~((left == right) | ((left != left) & (right != right))).all(axis=1), bool)
    if pa.types.is_floating(left.type):  # NaN equals NaN here
        nan = pc.and_(pc.fill_null(pc.is_nan(left), False), pc.fill_null(pc.is_nan(right), False))
        return mask(pc.and_not(_unequal(left, right), nan))
    return mask(_unequal(left, right))


def _unequal(left: Column, right: Column) -> Column:
    return pc.fill_null(pc.not_equal(left, right), pc.xor(pc.is_null(left), pc.is_null(right)))


def _scalars(column: Column) -> Column:
    """Convert vectors to [N, size], and join each list of strings into one string."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.FixedSizeListArray):
        size = column.type.list_size
        if column.null_count:
            return np.array([row.as_py() or [np.nan] * size for row in column])
        return np.asarray(column.flatten().to_numpy()).reshape(-1, size)
    return pc.binary_join(column.cast(pa.list_(pa.string())), "\x1f") if isinstance(column, pa.ListArray) else column
