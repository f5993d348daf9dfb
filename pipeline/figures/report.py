"""Contact sheet of a built dataset for visual inspection, the most suspicious samples first."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill import DatasetError, ManifestError
from facemill.manifests import MaskKind, schemas
from facemill.manifests.checks.bounded import image_size, read_table
from facemill.manifests.checks.columns import joined, pc, places
from facemill.manifests.remote import bring
from facemill.manifests.shards import EncodedSample, format_of
from facemill.manifests.shards.dataset import SAMPLES_FILE, read_dataset
from facemill.pipeline.figures.contact_sheet import SheetPart, Strip, write_contact_sheet
from facemill.pipeline.figures.sheet import Image, overlay_mask

__all__ = ["draw_contact_sheet"]

STRIP = 9
"""Maximum samples of a track shown side by side."""
SHOWN = ("sample_id", "video_id", "method", "frame_index", "track_id", "mask_kind", "mask_coverage", "shard", "row")
COLUMNS = pa.schema(
    [field for field in schemas.SAMPLES if field.name in {*SHOWN, "source_id", "label", "pair_offset", "bbox"}]
)
"""Columns that are read: some tens of bytes per row."""

Rows = NDArray[np.int64]  # row numbers of samples.parquet
Sample = dict[str, Any]
"""The columns `SHOWN` of a row."""
Pair = tuple[Sample, Sample | None]
"""A fake's sample, and the sample of the same face and time in its original."""


def draw_contact_sheet(folder: str | Path, path: str | Path, *, rows: int = 8) -> None:
    """Draw a contact sheet of a dataset, the most suspicious samples first.

    Shows the fakes with the emptiest and the fullest masks, with their originals and mask overlays; fakes without
    an original; strips of consecutive samples of one track, those with the largest size changes first; and real
    videos without fakes.

    Args:
        rows: maximum videos in each part.

    Raises:
        DatasetError: if the dataset is unfinished or damaged, or has no samples.
    """
    folder, path = Path(folder), Path(path)
    read_dataset(folder)
    try:
        samples = read_table(folder / SAMPLES_FILE, COLUMNS)
    except (ManifestError, OSError, ValueError) as error:
        raise DatasetError(f"{folder / SAMPLES_FILE} cannot be read ({error}): run `facemill verify`.") from None
    if not len(samples):
        raise DatasetError(f"{folder} has no samples: there is nothing to put on a contact sheet.")
    choice = _Selection(samples, rows)
    masks = {
        "Emptiest masks: real, fake, mask": choice.pairs(choice.masked, choice.coverage),
        "Fullest masks: real, fake, mask": choice.pairs(choice.masked, -choice.coverage),
        "Fakes without an original": choice.pairs(choice.unpaired, 0 * choice.coverage),
    }
    tracks = choice.tracks_by_size_change()
    reals = [real for real, _ in choice.pairs(choice.real_only, 0 * choice.coverage)]
    shown = chain(chain.from_iterable(chain.from_iterable(masks.values())), chain.from_iterable(tracks), reals)
    images = _read_images(folder, (sample for sample in shown if sample is not None))
    drawn = [SheetPart(title, [_strip_of_pair(pair, images) for pair in chosen]) for title, chosen in masks.items()]
    drawn.append(SheetPart("Tracks: consecutive samples", [_strip_of_track(track, images) for track in tracks]))
    drawn.append(SheetPart("Real videos without fakes", [Strip(_name(s), [images[s["sample_id"]][0]]) for s in reals]))
    write_contact_sheet(drawn, path)


# Selection --------------------------------------------------------------------------------------------


class _Selection:
    """Selects the samples to show, vectorised over columns: a dataset has millions of samples.

    Args:
        count: videos, or tracks, of each kind.

    Attributes:
        masked, unpaired, real_only: rows of fakes with an original and a mask, of fakes without an original, and of
            reals without fakes.
        coverage: [N], of the masks; 0 if there is none.
    """

    def __init__(self, samples: pa.Table, count: int) -> None:
        self._samples, self._count = samples, count
        column = {name: samples[name].combine_chunks() for name in COLUMNS.names}
        videos = column["video_id"].dictionary_encode()
        self._video = _numbers(videos.indices)
        source = _numbers(pc.fill_null(pc.index_in(column["source_id"], videos.dictionary), -1))
        self._frame, self._track = _numbers(column["frame_index"]), _numbers(column["track_id"])
        fake = _numbers(column["label"]) == 1
        in_original = pc.subtract(column["frame_index"], pc.fill_null(column["pair_offset"], 0))
        reals = np.flatnonzero(~fake)
        at = places(
            joined(column["source_id"], in_original, column["track_id"]),
            joined(column["video_id"], column["frame_index"], column["track_id"]).take(reals),
        )
        self._original = np.full(len(fake), -1, np.int64)
        self._original[fake & (at >= 0)] = reals[at[fake & (at >= 0)]]
        kind = _numbers(pc.not_equal(column["mask_kind"], MaskKind.NONE.value))
        real = _numbers(pc.equal(column["method"], "real"))
        self.masked = np.flatnonzero(fake & (self._original >= 0) & (kind == 1))
        self.unpaired = np.flatnonzero(fake & (self._original < 0))
        self.real_only = np.flatnonzero((real == 1) & ~np.isin(self._video, source))
        self.coverage = pc.fill_null(column["mask_coverage"], 0.0).to_numpy(zero_copy_only=False)
        # A paired fake's track has the same boxes as its original's, and is left out.
        self._track_rows = np.flatnonzero((source < 0) | (_numbers(pc.is_null(column["pair_offset"])) == 1))
        boxes = pc.list_flatten(column["bbox"]).to_numpy(zero_copy_only=False).reshape(-1, 4)
        self._side = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0), 1e-3)

    def pairs(self, rows: Rows, key: NDArray[Any]) -> list[Pair]:
        """Select from each video the row with the smallest `key` (the middle one of equals), in order of `key`."""
        if not len(rows):
            return []
        rows = rows[np.argsort(self._video[rows], kind="stable")]
        starts = np.flatnonzero(np.diff(self._video[rows], prepend=-1))
        ends = np.append(starts[1:], len(rows))
        least = np.minimum.reduceat(key[rows], starts)
        best = np.argsort(least, kind="stable")[: self._count]
        of_video = [rows[starts[video] : ends[video]] for video in best]
        equal = [found[key[found] == key[found].min()] for found in of_video]
        return [self._pair(int(found[len(found) // 2])) for found in equal]

    def tracks_by_size_change(self) -> list[list[Sample]]:
        """Select strips of the tracks whose face boxes change most in size between consecutive samples."""
        rows = self._track_rows
        if not len(rows):
            return []
        rows = rows[np.lexsort([self._frame[rows], self._track[rows], self._video[rows]])]
        new = np.diff(self._video[rows], prepend=-1).astype(bool) | np.diff(self._track[rows], prepend=-1).astype(bool)
        ratio = np.abs(np.diff(np.log(self._side[rows]), prepend=0.0))
        ratio[new] = 0.0
        starts = np.flatnonzero(new)
        order = np.argsort(-np.maximum.reduceat(ratio, starts), kind="stable")[: self._count]
        ends = np.append(starts[1:], len(rows))
        strips = []
        for start, end in zip(starts[order], ends[order], strict=True):
            jump = int(np.argmax(ratio[start:end])) - 1  # from this sample to the next
            first = start + max(0, min(max(jump, 0) - STRIP // 2 + 1, end - start - STRIP))
            strips.append([self._sample(int(row)) for row in rows[first : min(end, first + STRIP)]])
        return strips

    def _pair(self, row: int) -> Pair:
        original = int(self._original[row])
        return self._sample(row), self._sample(original) if original >= 0 else None

    def _sample(self, row: int) -> Sample:
        [sample] = self._samples.select(SHOWN).slice(row, 1).to_pylist()
        return sample


def _numbers(column: Any) -> Rows:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


# Drawing ----------------------------------------------------------------------------------------------


def _strip_of_pair(pair: Pair, images: dict[str, tuple[Image, Image]]) -> Strip:
    fake, real = pair
    image, mask = images[fake["sample_id"]]
    covered = "no mask" if fake["mask_coverage"] is None else f"{fake['mask_kind']} {fake['mask_coverage']:.1%}"
    strip = [] if real is None else [images[real["sample_id"]][0]]
    strip += [image] if fake["mask_kind"] == MaskKind.NONE else [image, overlay_mask(image, mask)]
    return Strip(f"{covered}  {_name(fake)}", strip)


def _strip_of_track(track: Sequence[Sample], images: dict[str, tuple[Image, Image]]) -> Strip:
    frames = f"to {track[-1]['frame_index']}" if len(track) > 1 else ""
    label = f"{_name(track[0])} {frames}  track {track[0]['track_id']}"
    return Strip(label, [images[sample["sample_id"]][0] for sample in track])


def _name(sample: Sample) -> str:
    return f"{sample['method']}  {sample['video_id']}  frame {sample['frame_index']}"


def _read_images(folder: Path, samples: Iterable[Sample]) -> dict[str, tuple[Image, Image]]:
    """Read image [S, S, 3] and mask [S, S] of these samples, by id.

    Each shard is read up to the last requested sample.

    Raises:
        DatasetError: a shard has another sample in that row.
    """
    wanted: dict[str, dict[int, str]] = defaultdict(dict)
    for sample in samples:
        wanted[sample["shard"]][sample["row"]] = sample["sample_id"]
    found = {}
    for shard, rows in wanted.items():
        for row, stored in enumerate(islice(format_of(shard).read(bring(folder / shard)), max(rows) + 1)):
            if row in rows:
                found[stored.record.sample_id] = _decode(stored)
        if missing := sorted(set(rows.values()) - found.keys()):
            raise DatasetError(
                f"{folder / shard} lacks {missing[0]} where samples.parquet says: run `facemill verify`."
            )
    return found


def _decode(sample: EncodedSample) -> tuple[Image, Image]:
    """Decode a sample's image and mask.

    Raises:
        DatasetError: if an image cannot be decoded, or its size differs from its record's.
    """
    size = sample.record.crop_size
    if image_size(sample.image) == image_size(sample.mask) == (size, size):
        image = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR_RGB)
        mask = cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is not None and mask is not None:
            return np.asarray(image, np.uint8), np.asarray(mask, np.uint8)
    raise DatasetError(f"The images of {sample.record.sample_id} cannot be decoded: run `facemill verify`.")
