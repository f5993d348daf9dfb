"""What two splits share, within a dataset or between datasets that are trained on and tested together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facemill.manifests.records import SPLITS
from facemill.pipeline.audit.duplicates import CORRELATION, Match, find_matches
from facemill.pipeline.audit.findings import Duplicate, Finding
from facemill.pipeline.audit.opened import Looks, Opened
from facemill.pipeline.data.overlap import KINDS, find_shared, read_part
from facemill.pipeline.evaluate.scores import name_groups

__all__ = ["find_duplicates", "shared_things"]

SHOWN = 20
"""Pairs of videos with nearly equal crops that are listed."""
PICTURE = 128

Place = tuple[str, str, str]
"""Dataset, split and video."""


def shared_things(opened: Sequence[Opened]) -> Iterator[Finding]:
    """Find videos, files, images, originals and subjects that are in two splits, by name or hash."""
    parts = [pa.concat_tables([read_part(one.folder, split).contents for one in opened]) for split in SPLITS]
    samples = pa.concat_tables([one.rows.table for one in opened])
    by_split = [samples.filter(pc.field("split") == split).combine_chunks() for split in SPLITS]
    groups = [pa.table({"group": name_groups(some)}) for some in by_split]
    people = [pa.table({"subject": pc.list_flatten(some["subject_ids"])}) for some in by_split]
    kinds = ((parts, KINDS), (groups, {"original": ["group"]}), (people, {"subject": ["subject"]}))
    for things, keys_of in kinds:
        for what, keys, shared in find_shared(things, keys_of):
            [first] = shared.sort_by([(key, "ascending") for key in keys]).slice(0, 1).to_pylist()
            number = f"1 {what} is" if len(shared) == 1 else f"{len(shared)} {what}s are"
            name = " ".join(first[key] for key in keys)
            places = [SPLITS[first[f"part_{end}"]] for end in ("min", "max")]
            yield Finding("shared", f"{number} in two splits, such as {name} in {' and '.join(places)}")


class _Crop(NamedTuple):
    """A crop that was looked at."""

    looks: Looks
    row: int
    place: Place

    @property
    def sample_id(self) -> str:
        return str(self.looks.samples["sample_id"][self.row])


def find_duplicates(opened: Sequence[Opened]) -> tuple[list[Duplicate], list[Finding]]:
    """Find nearly equal crops in two splits; returns the most similar pairs of videos, and a finding for two splits."""
    crops = [
        _Crop(looks, row, (one.name, split, str(video)))
        for one in opened
        for split, looks in one.looks.items()
        for row, video in enumerate(looks.samples["video_id"].to_pylist())
    ]
    every = np.concatenate([looks.values for one in opened for looks in one.looks.values()])
    splits = np.array([SPLITS.index(crop.place[1]) for crop in crops])
    pairs: dict[tuple[Place, ...], list[Match]] = defaultdict(list)
    for match in sorted(find_matches(every, splits), key=lambda match: -match.correlation):
        pairs[crops[match.first].place, crops[match.second].place].append(match)
    shown = [_shown(crops[same[0].first], crops[same[0].second], same) for same in [*pairs.values()][:SHOWN]]
    return shown, [*_by_split(pairs)]


def _shown(first: _Crop, second: _Crop, same: Sequence[Match]) -> Duplicate:
    return Duplicate(
        (first.place, second.place),
        (first.sample_id, second.sample_id),
        len(same),
        same[0].bits,
        same[0].correlation,
        (_small_png(first), _small_png(second)),
    )


def _small_png(crop: _Crop) -> bytes:
    image = cv2.imdecode(np.frombuffer(crop.looks.read(crop.row), np.uint8), cv2.IMREAD_COLOR)
    return bytes(cv2.imencode(".png", cv2.resize(image, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA))[1])


def _by_split(pairs: dict[tuple[Place, ...], list[Match]]) -> Iterator[Finding]:
    among: dict[tuple[tuple[str, str], ...], list[tuple[Place, ...]]] = defaultdict(list)
    for pair in pairs:
        among[tuple(place[:2] for place in pair)].append(pair)
    for ((name, split), (other_name, other_split)), videos in among.items():
        count = sum(len(pairs[pair]) for pair in videos)
        message = (
            f"{count} crops of {len({pair[0] for pair in videos})} videos in {split} of {name} are nearly equal to "
            f"crops in {other_split} of {other_name}, such as those of {videos[0][0][2]} and {videos[0][1][2]}"
        )
        yield Finding("duplicate", message, f"correlation {CORRELATION} or more")
