"""Pictures of a built dataset: real crops, fake crops and masks side by side."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests import SampleRecord, schemas
from facemill.manifests.shards import EncodedSample, format_of
from facemill.manifests.shards.dataset import SAMPLES_FILE, read_dataset
from facemill.pipeline.figures.contact_sheet import ContactRow, write_contact_sheet

__all__ = ["draw_contact_sheet"]


def draw_contact_sheet(folder: Path, path: Path, *, rows: int = 8) -> None:
    """Draw up to `rows` fakes of a dataset beside their originals, spread over methods and videos.

    Raises:
        DatasetError: if the dataset is not whole, or has no fake with a mask and an original.
    """
    read_dataset(folder)
    samples: list[SampleRecord] = schemas.from_table(pq.read_table(folder / SAMPLES_FILE), SampleRecord)
    pairs = _choose_pairs(samples, rows)
    if not pairs:
        raise DatasetError(f"{folder} has no fake beside its original: there is nothing to put on a contact sheet.")
    pictures = _read_pictures(folder, chain.from_iterable(pairs))
    write_contact_sheet(
        [
            ContactRow(
                label=f"{fake.video_id}  frame {fake.frame_index}",
                real=_decode(pictures[real.sample_id].image),
                fake=_decode(pictures[fake.sample_id].image),
                mask=_decode(pictures[fake.sample_id].mask)[..., 0],
            )
            for real, fake in pairs
        ],
        path,
    )


def _choose_pairs(samples: Sequence[SampleRecord], count: int) -> list[tuple[SampleRecord, SampleRecord]]:
    """Pairs of a real sample and a fake one: methods in turn, videos in turn, frames from the middle."""
    reals = {(s.video_id, s.frame_index, s.track_id): s for s in samples if s.label == 0}
    by_method: dict[str, dict[str, list[tuple[SampleRecord, SampleRecord]]]] = defaultdict(lambda: defaultdict(list))
    for fake in samples:
        if fake.source_id is not None and fake.pair_offset is not None and fake.mask_coverage:
            real = reals.get((fake.source_id, fake.frame_index - fake.pair_offset, fake.track_id))
            if real is not None:
                by_method[fake.method][fake.video_id].append((real, fake))
    middles = [[pairs[len(pairs) // 2] for pairs in videos.values()] for _, videos in sorted(by_method.items())]
    in_turn = chain.from_iterable(zip_longest(*middles))
    return list(islice((pair for pair in in_turn if pair is not None), count))


def _read_pictures(folder: Path, records: Iterator[SampleRecord]) -> dict[str, EncodedSample]:
    """The samples of these records, by sample id; each shard is read up to the last one wanted."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for record in records:
        wanted[record.shard].add(record.row)
    found = {}
    for shard, rows in wanted.items():
        for row, sample in enumerate(islice(format_of(shard).read(folder / shard), max(rows) + 1)):
            if row in rows:
                found[sample.record.sample_id] = sample
    return found


def _decode(data: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # type: ignore[no-any-return]
