"""One split of one or more built datasets: its samples, and the shard and row of each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemill import ConfigError, DatasetError, DetectorError
from facemill.manifests import MaskKind
from facemill.manifests.annotations import Annotations, image_names, listing_schema, samples_schema
from facemill.manifests.exclusion import list_ids, refuse_unknown
from facemill.manifests.remote import local_folder
from facemill.manifests.schemas import conform
from facemill.manifests.shards.base import Places
from facemill.manifests.shards.dataset import (
    SAMPLES_FILE,
    VIDEOS_FILE,
    DatasetInfo,
    ShardInfo,
    damage_told,
    has_true_places,
    read_dataset,
)
from facemill.manifests.urls import is_url
from facemill.pipeline.data.frames import choose_crops
from facemill.pipeline.data.places import places_of, with_places

__all__ = [
    *("Roots", "Split", "chosen_rows", "describe_sample", "list_folders", "open_split", "read_listed"),
    "refuse_not_finite",
]

UNUSED_MASKS = [MaskKind.NONE.value, MaskKind.UNRELIABLE.value]  # which losses do not use

Roots = Path | str | Sequence[Path | str]
"""The folder of a built dataset, or its fsspec URL; or several whose samples are used together."""


def list_folders(roots: Roots) -> list[Path]:
    """Convert one folder or several to a list of paths; of those behind URLs the tables are copied.

    Raises:
        DatasetError: if a URL cannot be read.
    """
    every = [roots] if isinstance(roots, Path | str) else roots
    return [local_folder(str(root)) if is_url(root) else Path(root) for root in every]


@dataclass(frozen=True)
class Split:
    """The samples in use, in the order of the datasets and of their samples.parquet.

    Attributes:
        samples: their rows of samples.parquet.
        shards: the files, in the order of the samples in them.
        bytes: recorded size of each of these files.
        hashes: and their recorded SHA-256, hex.
        shard: index into `shards` of each sample's file, [N].
        row: each sample's row in its file, [N].
        labels: [N], 0 real, 1 fake.
        has_mask: [N], whether its forgery mask is known.
        all_zero: [N], whether its mask is that of a real face.
        size: side of the crops, pixels.
        annotations: those that the samples of all datasets have.
        places: first byte and size of each sample's images in its file, [N, 2], by name; the size is -1 if the file
            does not hold the image in one piece.
    """

    samples: pa.Table
    shards: tuple[Path, ...]
    bytes: tuple[int, ...]
    hashes: tuple[str, ...]
    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    labels: NDArray[np.int64]
    has_mask: NDArray[np.bool_]
    all_zero: NDArray[np.bool_]
    size: int
    annotations: Annotations
    places: Mapping[str, Places]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def sample_ids(self) -> "pa.Array[Any]":
        return self.samples["sample_id"].combine_chunks()

    def place(self, index: int) -> str:
        """Location of a sample, for messages."""
        return f"Row {self.row[index]} of {self.shards[self.shard[index]]}"


def chosen_rows(
    methods: Sequence[str] = (), without: Sequence[str] = (), qualities: Sequence[str] = (), *, real: bool = False
) -> pc.Expression:
    """What holds for rows of samples.parquet that are real or of some methods, and of some qualities.

    Args:
        methods, without, qualities: as in `TrainSettings`.
        real: leave out all fakes.
    """
    if real:
        methods = ("real",)
    method = pc.field("method")
    chosen = ~method.isin(pa.array(without, pa.string()))
    if methods:
        chosen &= method.isin([*methods])
    chosen |= method == "real"
    return chosen & pc.field("quality").isin([*qualities]) if qualities else chosen


def open_split(
    roots: Roots,
    split: str,
    *,
    frames: int | None = None,
    every: int = 1,
    seed: int = 0,
    rows: pc.Expression | None = None,
    exclude: str | Path | Iterable[str] = (),
) -> Split:
    """List the samples of a split. Arguments as for `FaceDataset`.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or has no such split; or if crop sizes differ
            between datasets.
        ConfigError: if `exclude` has an id that no dataset has, or names all samples.
    """
    folders = list_folders(roots)
    tables, positions = [], []
    shards: dict[Path, int] = {}
    recorded: dict[Path, ShardInfo] = {}
    infos = [read_dataset(folder) for folder in folders]  # raises if a dataset is not finished
    annotations = _common_annotations(infos)
    excluded = list_ids(exclude)
    if excluded:
        _refuse_unknown(excluded, folders, infos)
    for folder, info in zip(folders, infos, strict=True):
        table = _rows(folder, info, split, annotations)
        table = table if rows is None else table.filter(rows)
        if excluded:
            table = table.filter(~(pc.field("video_id").isin(excluded) | pc.field("sample_id").isin(excluded)))
        table = table.filter(pa.array(choose_crops(table, frames=frames, every=every, seed=seed)))
        tables.append(table)
        recorded |= {folder / one.path: one for one in info.shards}
        shard = table["shard"].combine_chunks().dictionary_encode()
        numbers = [shards.setdefault(folder / str(name), len(shards)) for name in shard.dictionary.to_pylist()]
        positions.append(np.array(numbers, np.int64)[shard.indices.to_numpy()])
    listing = pa.concat_tables(tables).combine_chunks()
    if excluded and not len(listing):
        raise ConfigError(f"All samples of split {split} are excluded: shorten the list.")
    samples = listing.select(samples_schema(annotations).names)
    images = ["image", "mask", *image_names(annotations)]
    kinds = samples["mask_kind"].to_numpy(zero_copy_only=False).astype(str)
    return Split(
        samples,
        tuple(shards),
        tuple(recorded[path].bytes for path in shards),
        tuple(recorded[path].sha256 for path in shards),
        np.concatenate(positions),
        samples["row"].to_numpy().astype(np.int64),
        samples["label"].to_numpy().astype(np.int64),
        ~np.isin(kinds, UNUSED_MASKS),
        kinds == MaskKind.ZEROS.value,
        _crop_size(samples, folders),
        annotations,
        {name: places_of(listing[name]) for name in images},
    )


def describe_sample(samples: pa.Table, index: int) -> str:
    """Name the crop of a row of samples.parquet, for messages."""
    [row] = samples.select(["dataset", "video_id", "frame_index"]).slice(index, 1).to_pylist()
    return f"frame {row['frame_index']} of video {row['video_id']} of {row['dataset']}"


def refuse_not_finite(outputs: NDArray[Any], samples: pa.Table, rows: NDArray[np.int64]) -> None:
    """Check a detector's outputs for samples: [N, ...] for the rows [N] of samples.parquet.

    Raises:
        DetectorError: names the first sample with an output that is not finite.
    """
    odd = ~np.isfinite(outputs.reshape(len(rows), -1)).all(axis=1)
    if odd.any():
        sample = describe_sample(samples, int(rows[odd].min()))
        raise DetectorError(f"The detector's output for {sample} is not finite: train it again, or use float32.")


def _common_annotations(infos: Sequence[DatasetInfo]) -> Annotations:
    """Annotations that the samples of all datasets have, with the same kind."""
    first, *others = (info.annotations for info in infos)
    return {name: one for name, one in first.items() if all(name in o and o[name].kind == one.kind for o in others)}


def read_listed(folder: Path, file: str, schema: pa.Schema) -> pa.Table:
    """Read one of a dataset's tables; it is empty if the dataset lacks it.

    Raises:
        DatasetError: if it is damaged.
    """
    if not (folder / file).is_file():
        return schema.empty_table()
    with damage_told(folder / file):
        return conform(pq.read_table(folder / file), schema)


def _rows(folder: Path, info: DatasetInfo, split: str, annotations: Annotations) -> pa.Table:
    """Read the split's rows of a dataset's samples.parquet, with the places of images."""
    known = {shard.path for shard in info.shards}
    schema = listing_schema(annotations)
    with damage_told(folder / SAMPLES_FILE):
        has_places = has_true_places(folder / SAMPLES_FILE, info.shards)
        samples = conform(pq.read_table(folder / SAMPLES_FILE), schema if has_places else samples_schema(annotations))
    chosen = samples.filter(pc.field("split") == split)
    rules: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("label", lambda label: label in (0, 1)),
        ("shard", lambda shard: shard in known),
        ("row", lambda row: row >= 0),
    )
    for column, is_possible in rules:
        if odd := [value for value in chosen[column].unique().to_pylist() if not is_possible(value)]:
            raise DatasetError(
                f"{folder / SAMPLES_FILE} has the {column} {odd[0]!r}, which is not valid: build the dataset again."
            )
    if not chosen.num_rows:
        there = ", ".join(map(str, samples["split"].unique().to_pylist())) or "no split at all"
        raise DatasetError(
            f"{folder} has no samples of split {split!r}, it has {there}: build it from a manifest with that "
            "split, such as one of `facemill scan --split identity:80/10/10`."
        )
    return chosen if has_places else with_places(folder, split, chosen, schema)


def _refuse_unknown(excluded: Sequence[str], folders: Sequence[Path], infos: Sequence[DatasetInfo]) -> None:
    """Check that each id is one of a video or sample of any split of the datasets, or excluded from their builds."""
    known: set[str] = set()
    for folder, info in zip(folders, infos, strict=True):
        known.update(info.recipe.get("filter", {}).get("exclude", ()))
        for file, columns in ((SAMPLES_FILE, ["sample_id", "video_id"]), (VIDEOS_FILE, ["video_id"])):
            if file == SAMPLES_FILE or (folder / file).exists():
                with damage_told(folder / file):
                    table = pq.read_table(folder / file, columns=columns)
                    for name in columns:
                        known.update(map(str, table.filter(pc.field(name).isin(excluded))[name].unique().to_pylist()))
    refuse_unknown(excluded, known, ", ".join(map(str, folders)))


def _crop_size(samples: pa.Table, folders: Sequence[Path]) -> int:
    sizes = np.unique(samples["crop_size"].to_numpy())
    if len(sizes) > 1:
        raise DatasetError(
            f"The crops of {', '.join(map(str, folders))} have sides of {', '.join(map(str, sizes))} pixels, which "
            "cannot be batched together: build them with the same crop.size."
        )
    return int(sizes[0])
