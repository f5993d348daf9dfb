"""Pictures of a built dataset for a person to look at, the most doubtful ones first."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path

import cv2
import numpy as np

from facemill import DatasetError, ManifestError
from facemill.manifests import MaskKind, SampleRecord, schemas
from facemill.manifests.checks.bounded import picture_size, read_table
from facemill.manifests.shards import EncodedSample, format_of
from facemill.manifests.shards.dataset import SAMPLES_FILE, read_dataset
from facemill.pipeline.figures.contact_sheet import SheetPart, Strip, write_contact_sheet
from facemill.pipeline.figures.sheet import Image, mask_over

__all__ = ["draw_contact_sheet"]

STRIP = 9
"""Samples of a track that are shown side by side."""

Records = Sequence[SampleRecord]
Pair = tuple[SampleRecord, SampleRecord | None]
"""A fake's sample, and that of the same face and moment in its original."""


def draw_contact_sheet(folder: str | Path, path: str | Path, *, rows: int = 8) -> None:
    """Draw what is worth a look in a dataset, worst first.

    These are the fakes with the emptiest and the fullest masks, beside their originals and under their masks; fakes
    without an original; strips of consecutive samples of one track, those that change most in size first; and real
    videos without fakes.

    Args:
        rows: videos in each part, at most.

    Raises:
        DatasetError: if the dataset is not whole, or has no samples.
    """
    folder, path = Path(folder), Path(path)
    read_dataset(folder)
    try:
        samples: list[SampleRecord] = schemas.from_table(
            read_table(folder / SAMPLES_FILE, schemas.SAMPLES), SampleRecord
        )
    except (ManifestError, OSError, ValueError) as error:
        raise DatasetError(f"{folder / SAMPLES_FILE} cannot be read ({error}): run `facemill verify`.") from None
    if not samples:
        raise DatasetError(f"{folder} has no samples: there is nothing to put on a contact sheet.")
    pairs = _pairs(samples)
    masked = [pair for pair in pairs if pair[1] is not None and pair[0].mask_kind is not MaskKind.NONE]
    masks = {
        "Emptiest masks: real, fake, mask": _by_video(masked, rows, lambda pair: pair[0].mask_coverage or 0.0),
        "Fullest masks: real, fake, mask": _by_video(masked, rows, lambda pair: -(pair[0].mask_coverage or 0.0)),
        "Fakes without an original": _by_video([pair for pair in pairs if pair[1] is None], rows, lambda pair: 0.0),
    }
    tracks = _restless_tracks(samples, rows)
    with_fakes = {sample.source_id for sample in samples}
    alone = [sample for sample in samples if sample.method == "real" and sample.video_id not in with_fakes]
    alone = [sample for sample, _ in _by_video([(sample, None) for sample in alone], rows, lambda pair: 0.0)]
    shown = chain(chain.from_iterable(chain.from_iterable(masks.values())), chain.from_iterable(tracks), alone)
    pictures = _read_pictures(folder, (record for record in shown if record is not None))
    drawn = [SheetPart(title, [_strip_of_pair(pair, pictures) for pair in chosen]) for title, chosen in masks.items()]
    drawn.append(SheetPart("Tracks: consecutive samples", [_strip_of_track(track, pictures) for track in tracks]))
    drawn.append(SheetPart("Real videos without fakes", [Strip(_name(s), [pictures[s.sample_id][0]]) for s in alone]))
    write_contact_sheet(drawn, path)


# Choosing ---------------------------------------------------------------------------------------------


def _pairs(samples: Records) -> list[Pair]:
    """Every fake's sample with its original's, None where there is none."""
    reals = {(s.video_id, s.frame_index, s.track_id): s for s in samples if s.label == 0}
    return [
        (fake, reals.get((fake.source_id or "", fake.frame_index - (fake.pair_offset or 0), fake.track_id)))
        for fake in samples
        if fake.label == 1
    ]


def _by_video(pairs: Sequence[Pair], count: int, worth: Callable[[Pair], float]) -> list[Pair]:
    """Of each video the pair that is least by `worth` (its middle one where all are equal), the least videos first."""
    by_video: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_video[pair[0].video_id].append(pair)
    chosen = []
    for found in by_video.values():
        least = min(map(worth, found))
        equal = [pair for pair in found if worth(pair) == least]
        chosen.append(equal[len(equal) // 2])
    return sorted(chosen, key=worth)[:count]


def _restless_tracks(samples: Records, count: int) -> list[Records]:
    """Strips of the tracks whose face boxes change most in size from one sample to the next.

    A fake's track beside its original's, of the same boxes, is left out.
    """
    videos = {sample.video_id for sample in samples}
    tracks: dict[tuple[str, int], list[SampleRecord]] = defaultdict(list)
    for sample in samples:
        if sample.pair_offset is None or sample.source_id not in videos:
            tracks[sample.video_id, sample.track_id].append(sample)
    strips = []
    for track in tracks.values():
        track.sort(key=lambda sample: sample.frame_index)
        sides = [max(s.bbox[2] - s.bbox[0], s.bbox[3] - s.bbox[1], 1e-3) for s in track]
        jumps = [max(a / b, b / a) for a, b in pairwise(sides)] or [1.0]
        start = max(0, min(int(np.argmax(jumps)) - STRIP // 2 + 1, len(track) - STRIP))
        strips.append((max(jumps), track[start : start + STRIP]))
    strips.sort(key=lambda strip: -strip[0])
    return [strip for _, strip in strips[:count]]


# Drawing ----------------------------------------------------------------------------------------------


def _strip_of_pair(pair: Pair, pictures: dict[str, tuple[Image, Image]]) -> Strip:
    fake, real = pair
    image, mask = pictures[fake.sample_id]
    covered = "no mask" if fake.mask_coverage is None else f"{fake.mask_kind} {fake.mask_coverage:.1%}"
    strip = [] if real is None else [pictures[real.sample_id][0]]
    strip += [image] if fake.mask_kind is MaskKind.NONE else [image, mask_over(image, mask)]
    return Strip(f"{covered}  {_name(fake)}", strip)


def _strip_of_track(track: Records, pictures: dict[str, tuple[Image, Image]]) -> Strip:
    frames = f"to {track[-1].frame_index}" if len(track) > 1 else ""
    return Strip(f"{_name(track[0])} {frames}  track {track[0].track_id}", [pictures[s.sample_id][0] for s in track])


def _name(sample: SampleRecord) -> str:
    return f"{sample.method}  {sample.video_id}  frame {sample.frame_index}"


def _read_pictures(folder: Path, records: Iterable[SampleRecord]) -> dict[str, tuple[Image, Image]]:
    """Picture [S, S, 3] and mask [S, S] of these records, by sample id.

    Each shard is read up to the last one wanted.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    for record in records:
        wanted[record.shard].add(record.row)
    found = {}
    for shard, rows in wanted.items():
        for row, sample in enumerate(islice(format_of(shard).read(folder / shard), max(rows) + 1)):
            if row in rows:
                found[sample.record.sample_id] = _decode(sample)
    return found


def _decode(sample: EncodedSample) -> tuple[Image, Image]:
    """Decode a sample's picture and mask.

    Raises:
        DatasetError: for a picture that cannot be decoded, or is not of the size that its record says.
    """
    size = sample.record.crop_size
    if picture_size(sample.image) == picture_size(sample.mask) == (size, size):
        image = cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR_RGB)
        mask = cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is not None and mask is not None:
            return np.asarray(image, np.uint8), np.asarray(mask, np.uint8)
    raise DatasetError(f"The pictures of {sample.record.sample_id} cannot be decoded: run `facemill verify`.")
