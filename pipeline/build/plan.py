"""Planning: which clip groups go into which shard.

The plan depends on the manifest, the recipe and its seed only: never on workers, time or order.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facemill.manifests import SPLITS, ClipGroup
from facemill.manifests.archives import split_archive
from facemill.manifests.remote import RemoteFolder
from facemill.manifests.sequences import holds_crops
from facemill.manifests.videos import entry_values
from facemill.pipeline.build.identity import WorkIdentity
from facemill.pipeline.build.patience import Limits
from facemill.pipeline.clips.sampling import expected_frames
from facemill.pipeline.config.recipe import Recipe
from facemill.seeded import seeded_hash

__all__ = ["BuildJob", "ShardSpec", "WorkerSlot", "plan_framing", "plan_shards"]


SHARDS = 32  # a dataset has about as many shards or more, to fill many workers to the end of a build,
LEAST_SAMPLES, MOST_SAMPLES = 128, 1024  # but none is planned with fewer or more samples than these


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """One unit of work, of commit and of retry.

    Attributes:
        shard_id: `<split>-<number>`, such as `train-000017`.
        groups: what the shard is made of, in the order in which it is written.
        isolated: whether each clip group is processed in a process of its own, since the shard has killed workers.
    """

    shard_id: str
    split: str
    groups: tuple[ClipGroup, ...]
    isolated: bool = False

    def __str__(self) -> str:
        return self.shard_id

    @property
    def video_ids(self) -> frozenset[str]:
        """Ids of all videos that are read."""
        return frozenset(video.video_id for group in self.groups for video in group.videos())

    @property
    def sampled_ids(self) -> frozenset[str]:
        """Ids of the videos that give samples: a reference does so in another shard, or nowhere."""
        return frozenset(video.video_id for group in self.groups for video in group.sampled())

    def fingerprint(self, identity: WorkIdentity) -> str:
        """SHA-256 of what decides the shard's bytes: a committed shard is only good for this very work."""
        groups = [[entry_values(video) for video in group.videos()] for group in self.groups]
        work = json.dumps([self.shard_id, identity.digest, groups], sort_keys=True)
        return hashlib.sha256(work.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BuildJob:
    """What all shards of a build have in common.

    Attributes:
        out: the dataset's folder, seen by every worker; with `store`, a folder of this process.
        faces: folder of an earlier build whose detections are reused.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` for a GPU where there is one.
        retry_failed: also try again what failed by the videos' own fault.
        run: id of this run; work goes on for as long as the state folder names it
        (`facemill.pipeline.build.claim`). None: always.
        identity: of the work; None for this process's own.
        thorough: look at every byte of what is committed, not only at sizes and last bytes.
        stall_s: see `facemill.pipeline.build.patience.Limits`.
        store: where the dataset is, if that is behind a URL.
    """

    out: Path
    recipe: Recipe
    faces: Path | None = None
    device: str = "auto"
    retry_failed: bool = False
    run: str | None = None
    identity: WorkIdentity | None = None
    thorough: bool = True
    stall_s: float = Limits().stall_s
    store: RemoteFolder | None = None

    @property
    def place(self) -> Path | RemoteFolder:
        """Where the dataset is."""
        return self.store or self.out

    @property
    def work(self) -> WorkIdentity:
        return self.identity or WorkIdentity.here(self.recipe, self.device)


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """The share of a machine that a worker may use.

    Attributes:
        number: by which the workers of a machine that see the same GPUs are dealt out over them: 0, 1, 2 …
        threads: for the video decoder. Everything else runs on one thread per worker.
    """

    number: int = 0
    threads: int = 1


def plan_framing(groups: Sequence[ClipGroup], recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Decide for the whole dataset whether it is cropped around masks, as the recipe asks, or around faces.

    A crop around a mask shows less or more of the face than one around its box. If only some videos had the former, the
    framing would tell reals from fakes, so that masks are used only if every original is sampled together with a fake
    of it, and every fake with its original.

    Returns:
        the recipe to build with, and a sentence if it is not the given one.
    """
    lacking = [group for group in groups if recipe.crop.around == "mask" and not _has_masks(group)]
    if not lacking:
        return recipe, ()
    videos = [video.video_id for group in lacking for video in group.sampled()]
    note = (
        f"All crops are around faces instead of masks: {len(videos)} videos, {min(videos)} among them, are not sampled "
        "together with an original or fake to find masks with, and framing must not tell reals from fakes."
    )
    return recipe.model_copy(update={"crop": recipe.crop.model_copy(update={"around": "face"})}), (note,)


def _has_masks(group: ClipGroup) -> bool:
    """Whether originals and fakes of a group can be cropped around the same masks."""
    is_pair = group.real is not None and not group.real_is_reference and bool(group.fakes)
    return is_pair and not any(map(holds_crops, group.videos()))


def plan_shards(groups: Collection[ClipGroup], recipe: Recipe) -> list[ShardSpec]:
    """Spread clip groups over shards of about `samples_per_shard` samples, each inside one split.

    Without that number, shards of a small dataset have fewer samples, so that there are about `SHARDS`. Groups are
    ordered by a seeded hash of their id and cut into runs of equal expected size, so that subjects and methods are
    mixed and no shard is much larger than another. Those out of one compressed tar, which can only be read from its
    start, follow one another.
    """
    by_split: dict[str, list[ClipGroup]] = defaultdict(list)
    for group in groups:
        by_split[group.split].append(group)
    per_shard: float = recipe.shards.samples_per_shard or MOST_SAMPLES
    if recipe.shards.samples_per_shard is None and not any(map(_archive_of, groups)):
        samples = sum(_expected_samples(group, recipe) for group in groups)
        per_shard = min(per_shard, max(LEAST_SAMPLES, samples / SHARDS))
    return [spec for split in SPLITS for spec in _plan_split(split, by_split.get(split, []), recipe, per_shard)]


def _plan_split(split: str, groups: list[ClipGroup], recipe: Recipe, per_shard: float) -> Iterable[ShardSpec]:
    seed = recipe.seed
    groups.sort(
        key=lambda group: (seeded_hash(seed, _archive_of(group) or group.group_id), seeded_hash(seed, group.group_id))
    )
    sizes = [_expected_samples(group, recipe) for group in groups]
    total = sum(sizes)
    count = max(1, round(total / per_shard))
    shards: dict[int, list[ClipGroup]] = defaultdict(list)
    before = 0
    for group, size in zip(groups, sizes, strict=True):
        shards[(2 * before + size) * count // (2 * total)].append(group)
        before += size
    for number, members in enumerate(shards[key] for key in sorted(shards)):
        yield ShardSpec(f"{split}-{number:06d}", split, tuple(members))


def _expected_samples(group: ClipGroup, recipe: Recipe) -> int:
    return expected_frames(recipe.sample) * len([*group.sampled()])


def _archive_of(group: ClipGroup) -> str | None:
    """Path of the archive that a group's first video is in, if it is one that can only be read from its start."""
    inside = split_archive(next(group.videos()).path)
    return None if inside is None or inside[0].lower().endswith((".zip", ".tar")) else inside[0]
