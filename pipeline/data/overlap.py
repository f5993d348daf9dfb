"""Overlap of datasets, splits and finished runs: shared samples, images, videos, subjects."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facemill import ConfigError
from facemill.manifests.shards.dataset import SAMPLES_FILE, VIDEOS_FILE, damage_told

__all__ = [
    *("KINDS", "KnownVideos", "Part", "check_subjects", "find_known", "find_shared", "originals", "read_part"),
    *("refuse_shared", "video_keys"),
]

_COLUMNS = ["split", "dataset", "method", "video_id", "source_id", "sample_id", "image_sha256", "subject_ids"]
_HASHES = pa.schema([("video_id", pa.string()), ("content_hash", pa.string())])
KINDS: Mapping[str, Sequence[str]] = {
    "video": ["dataset", "video_id"],
    "video file": ["content_hash"],
    "sample": ["dataset", "sample_id"],
    "image": ["image_sha256"],
}
"""What parts must not share, and the columns that identify it."""


class Part(NamedTuple):
    """A split of a dataset.

    Attributes:
        contents: identifiers of its samples, a row each: columns split, dataset, method, video_id, source_id,
            sample_id, image_sha256, subject_ids, content_hash (of the video's file, null if not known).
    """

    root: Path
    split: str
    contents: pa.Table


def read_part(root: Path, split: str) -> Part:
    """Read only the identifiers of a split's samples.

    Raises:
        DatasetError: if the list of videos is damaged.
    """
    samples = pq.read_table(root / SAMPLES_FILE, columns=_COLUMNS, filters=pc.field("split") == split)
    hashes: pa.Array[Any] = pa.nulls(len(samples), pa.string())
    if (root / VIDEOS_FILE).is_file():
        with damage_told(root / VIDEOS_FILE):
            videos = pq.read_table(root / VIDEOS_FILE, columns=_HASHES.names).select(_HASHES.names).cast(_HASHES)
        rows: Any = pc.index_in(samples["video_id"], value_set=videos["video_id"].combine_chunks())
        hashes = videos["content_hash"].combine_chunks().take(rows.combine_chunks())
    return Part(root, split, samples.append_column("content_hash", hashes))


def refuse_shared(parts: Sequence[Part]) -> None:
    """Refuse parts that share a video (by id or content), a sample, or an identical image.

    Raises:
        ConfigError: names the first that is in two parts, those parts, and how many more there are.
    """
    places = [f"split {part.split} of {part.root}" for part in parts]
    for what, keys, shared in find_shared([part.contents for part in parts]):
        first = shared.sort_by([("part_min", "ascending"), *((key, "ascending") for key in keys)]).slice(0, 1)
        [row] = first.to_pylist()
        more = f" (and {shared.num_rows - 1} more)" if shared.num_rows > 1 else ""
        raise ConfigError(
            f"The {what} {' '.join(row[key] for key in keys)}{more} is both in {places[row['part_min']]} and in "
            f"{places[row['part_max']]}: leave one of them out, or scan and build with splits that share no video."
        )


def find_shared(
    parts: Sequence[pa.Table], kinds: Mapping[str, Sequence[str]] = KINDS
) -> Iterator[tuple[str, Sequence[str], pa.Table]]:
    """Yield each kind of thing that is in two parts, its columns, and a table of them.

    Args:
        parts: contents of each.
        kinds: columns that identify a thing, of which the last may be null, by its kind.

    Returns:
        the table has the kind's columns, and the first and last number of a part (`part_min`, `part_max`).
    """
    together = pa.concat_tables([part.append_column("part", pa.repeat(n, len(part))) for n, part in enumerate(parts)])
    for what, keys in kinds.items():
        known = together.filter(pc.is_valid(together[keys[-1]]))
        groups = known.group_by([*keys]).aggregate([("part", "min"), ("part", "max")])
        shared = groups.filter(pc.field("part_min") != pc.field("part_max"))
        if shared.num_rows:
            yield what, keys, shared


def check_subjects(parts: Sequence[Part]) -> str | None:
    """Find subjects that are both in train and in val.

    The official splits of some datasets share subjects: that gives a warning. If each dataset's own splits share
    none, but those of two datasets do, it is an error.

    Args:
        parts: train and val of each dataset.

    Returns:
        one sentence if a dataset's own splits share subjects; None if no subjects are shared.

    Raises:
        ConfigError: if subjects are shared between datasets only.
    """
    known = {part[:2]: _subjects(part.contents) for part in parts}
    roots = sorted({part.root for part in parts})
    trained, validated = (set[str]().union(*(known[root, split] for root in roots)) for split in ("train", "val"))
    shared = sorted(trained & validated)
    if not shared:
        return None
    found = f"{len(shared)} subjects, {shared[0]} among them, are both in train and in val"
    if all(known[root, "train"].isdisjoint(known[root, "val"]) for root in roots):
        raise ConfigError(
            f"{found}, though each of {', '.join(map(str, roots))} keeps its own apart: build them "
            "with the same splits, or train on one of them."
        )
    return f"{found}: validation says less about unseen subjects."


class KnownVideos(NamedTuple):
    """What of a part's videos a run knows from training or validation: keys `<dataset> <video_id>`.

    Attributes:
        videos: those that it was trained on themselves, by name, file or image.
        subjects: others, with a subject in common with those.
        originals: others, that are the original of a fake that it was trained on, or made from the same original.
    """

    videos: frozenset[str]
    subjects: frozenset[str]
    originals: frozenset[str]

    def counts(self, contents: pa.Table) -> dict[str, int]:
        """How many of the videos of a table, with columns dataset and video_id, are known in each way."""
        there = set(video_keys(contents).to_pylist())
        return {f"{name}_trained_on": len(there & known) for name, known in self._asdict().items()}

    def sentences(self) -> Iterator[str]:
        """Yield a warning about known videos, and one about other videos of known subjects or originals."""
        if self.videos:
            some = min(self.videos)
            yield f"The run was trained or validated on {len(self.videos)} of these videos, {some} among them."
        if other := self.subjects | self.originals:
            yield (
                f"The run knows {len(other)} more of these videos in part, {min(other)} among them: "
                f"{len(self.subjects)} by a subject, {len(self.originals)} by an original in training or validation."
            )


def find_known(contents: pa.Table, trained_on: pa.Table) -> KnownVideos:
    """Compare a part's contents with those that a run was trained and validated on."""
    keys: Any = video_keys(contents)
    seen = pc.is_in(keys, value_set=video_keys(trained_on))
    for column in ("content_hash", "image_sha256"):
        known = trained_on[column].combine_chunks().drop_null()
        seen = pc.or_(seen, pc.is_in(contents[column], value_set=known))
    videos = frozenset(keys.filter(seen).to_pylist())
    same = pc.is_in(originals(contents), value_set=originals(trained_on).drop_null())
    subject_ids: list[Any] = contents["subject_ids"].to_pylist()
    shown = dict(zip(keys.to_pylist(), subject_ids, strict=True))
    known_subjects = _subjects(trained_on)
    subjects = frozenset(key for key, those in shown.items() if not known_subjects.isdisjoint(those))
    return KnownVideos(videos, subjects - videos, frozenset(keys.filter(same).to_pylist()) - videos)


def originals(contents: pa.Table) -> "pa.Array[Any]":
    """Keys of the videos' originals; a real is its own, and null stands for that of a fake without one."""
    is_real: Any = pc.equal(contents["method"], pa.scalar("real"))
    own = pc.if_else(is_real, contents["video_id"], contents["source_id"])
    names: Any = (contents["dataset"], own)
    keys: pa.ChunkedArray[Any] = pc.binary_join_element_wise(*names, " ")
    return keys.combine_chunks()


def video_keys(contents: pa.Table) -> "pa.Array[Any]":
    """Keys `<dataset> <video_id>` of a table's rows."""
    names: Any = (contents["dataset"], contents["video_id"])  # the type stubs know joins of plain arrays only
    keys: pa.ChunkedArray[Any] = pc.binary_join_element_wise(*names, " ")
    return keys.combine_chunks()


def _subjects(contents: pa.Table) -> set[str]:
    return {str(subject) for subject in pc.unique(pc.list_flatten(contents["subject_ids"])).to_pylist()}
