"""The datasets that a reproduction is given: which a row can use, and how they differ from what it wants."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from facemill import ConfigError, ManifestError
from facemill.manifests import SPLITS, VideoEntry, read_videos, scan
from facemill.manifests.scanning.scan_report import ALL_FAKES, ALL_SPLITS
from facemill.manifests.shards.dataset import DATASET_FILE, SAMPLES_FILE, VIDEOS_FILE, damage_told, read_dataset
from facemill.pipeline.experiments.figures import Source
from facemill.pipeline.experiments.plan import Wanted
from facemill.registry import DATASETS, nearest

__all__ = ["TESTED", "TRAINED", "Catalogue", "Given", "Root", "differences", "parse_places"]

TRAINED, TESTED = ("train", "val"), ("test",)
"""The splits that a training and an evaluation use."""
_FREE = {"name", "paper", "shards", "detect.weights"}
"""Settings of a recipe that do not change what a row measures: a file of weights may lie anywhere."""
_SHOWN = 6  # settings listed per dataset


@dataclass(frozen=True)
class Given:
    """A built dataset.

    Attributes:
        data: name of the dataset, as the user says.
    """

    data: str
    folder: Path

    @cached_property
    def parts(self) -> list[dict[str, Any]]:
        """Its combinations of dataset, quality, split and method, with the numbers of samples and of their videos.

        Raises:
            DatasetError: if its samples.parquet cannot be read.
        """
        keys = ["dataset", "quality", "split", "method"]
        with damage_told(self.folder / SAMPLES_FILE):
            samples = pq.read_table(self.folder / SAMPLES_FILE, columns=[*keys, "video_id"])
        counted = samples.group_by(keys).aggregate([([], "count_all"), ("video_id", "count_distinct")])
        return counted.rename_columns([*keys, "samples", "videos"]).to_pylist()

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        return read_dataset(self.folder).recipe

    @cached_property
    def videos(self) -> list[VideoEntry] | None:
        """Its manifest; None if it has none."""
        path = self.folder / VIDEOS_FILE
        return read_videos(path) if path.is_file() else None


@dataclass(frozen=True)
class Root:
    """A folder of a dataset's videos, from which a dataset is scanned and built."""

    data: str
    folder: str
    scanned: dict[tuple[str, str], list[VideoEntry]] = field(default_factory=dict, compare=False)

    def videos(self, wanted: Wanted) -> list[VideoEntry]:
        """Scan for the videos of a quality, once.

        Raises:
            ManifestError: if there are none, or no split.
        """
        key = (wanted.quality, wanted.split)
        if key not in self.scanned:
            quality = None if wanted.quality == "native" else wanted.quality
            self.scanned[key] = scan(wanted.data, self.folder, quality=quality, split=wanted.split).entries
        return self.scanned[key]


@dataclass(frozen=True)
class Catalogue:
    """The datasets at hand.

    Attributes:
        given: built datasets.
        roots: folders of videos.
        built: the folder that datasets of the roots are built in.
    """

    given: Sequence[Given]
    roots: Sequence[Root]
    built: Path

    def find(self, wanted: Wanted, source: Source, splits: Sequence[str]) -> Given | Root | None:
        """The built dataset that differs least from what is wanted, or a root to build it from; None for neither."""
        built = Given(wanted.data, self.built / wanted.name)
        known = [*self.given, *([built] if (built.folder / DATASET_FILE).is_file() else [])]
        fitting = [one for one in known if one.data == wanted.data and _has(one.parts, source, splits)]
        if fitting:
            return min(fitting, key=lambda one: len(list(differences(one, wanted, source, splits))))
        roots = (one for one in self.roots if one.data == wanted.data)
        return next((root for root in roots if _has(_parts_of(root, wanted), source, splits)), None)

    def root(self, wanted: Wanted) -> Root:
        """The root that a dataset is built from, if `find` found one."""
        return next(root for root in self.roots if root.data == wanted.data and _parts_of(root, wanted))


def differences(given: Given, wanted: Wanted, source: Source, splits: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each way in which a dataset is not what a row names."""
    parts = [part for part in given.parts if part["quality"] == source.quality and part["split"] in splits]
    if (named := sorted({part["dataset"] for part in parts})) != [source.data]:
        yield f"{given.folder} says that its videos are of {', '.join(named)}, not of {source.data}."
    for split in splits:
        if missing := set(source.methods) - {part["method"] for part in parts if part["split"] == split}:
            yield f"{given.folder} has no {', '.join(sorted(missing))} in {split}."
    if other := list(_other_settings(given.recipe, wanted)):
        more = f" and {len(other) - _SHOWN} other settings" if len(other) > _SHOWN else ""
        yield f"{given.folder} was built with {', '.join(other[:_SHOWN])}{more}."
    if given.videos is None:
        yield f"{given.folder} has no {VIDEOS_FILE}, which would tell whether its split is complete."
    elif source.split == "official" and source.data in DATASETS:
        yield from _other_counts(given.folder, given.videos, source, splits)


def _other_settings(built: Mapping[str, Any], wanted: Wanted) -> Iterator[str]:
    """Settings of a dataset's recipe that differ from those wanted, `key=value instead of value`."""
    for section, values in wanted.load().work_values().items():
        if section in _FREE:
            continue
        found = built.get(section)
        pairs = {section: (found, values)}
        if isinstance(values, Mapping):
            there = found if isinstance(found, Mapping) else {}
            pairs = {f"{section}.{key}": (there.get(key), value) for key, value in values.items()}
        for key, (have, value) in pairs.items():
            if have != value and key not in _FREE:
                yield f"{key}={json.dumps(have)} instead of {json.dumps(value)}"


def _other_counts(folder: Path, videos: Sequence[VideoEntry], source: Source, used: Sequence[str]) -> Iterator[str]:
    """A sentence for each of the splits used that has another number of videos than the authors published."""
    adapter = DATASETS[source.data]
    there = [video.split for video in videos if video.quality == source.quality and source.uses(video.method)]
    published = {key: count for key, count in adapter.published.items() if key[1] == ALL_FAKES or source.uses(key[1])}
    groups: dict[str, tuple[str, ...]] = {"train, val and test": SPLITS}
    if ALL_SPLITS not in {split for _, _, split in published}:
        parts = (
            [TRAINED, TESTED] if adapter.lacks_val else [(split,) for split in SPLITS]
        )  # else val is carved from train
        groups = {" and ".join(splits): splits for splits in parts}
    for name, splits in groups.items():
        authors = sum(count for (_, _, split), count in published.items() if split in (*splits, ALL_SPLITS))
        found = sum(map(there.count, splits))
        if found != authors and not set(used).isdisjoint(splits):
            yield f"{folder} has {found} videos in {name}, where the authors published {authors}."


def parse_places(texts: Iterable[str], option: str) -> list[tuple[str, str]]:
    """Parse `NAME=PLACE` arguments.

    Raises:
        ConfigError: for one that is not of this form, or of a dataset that no row uses.
    """
    pairs = [(text.partition("=")[0], text.partition("=")[2]) for text in texts]
    for name, place in pairs:
        if name not in DATASETS or not place:
            hint = nearest(name, DATASETS)
            raise ConfigError(f"{option} {name}={place} is not NAME=DIR with the name of a dataset{hint}.")
    return pairs


def _parts_of(root: Root, wanted: Wanted) -> list[dict[str, Any]]:
    try:
        videos = root.videos(wanted)
    except ManifestError:
        return []
    return [{"quality": v.quality, "split": v.split, "method": v.method} for v in videos]


def _has(parts: Iterable[Mapping[str, Any]], source: Source, splits: Sequence[str]) -> bool:
    """Whether every split has reals, and fakes of one of the methods at least."""
    there = {(part["split"], part["method"]) for part in parts if part["quality"] == source.quality}
    return all(
        (split, "real") in there and any(s == split and m != "real" and source.uses(m) for s, m in there)
        for split in splits
    )
