"""Train, val and test: the dataset's own split, or one by identity."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from facemill import ConfigError, ManifestError
from manifests.records import SPLITS, VideoEntry

__all__ = ["Shares", "assign", "parse_split"]

Shares = tuple[int, int, int]
"""Percent of the videos that train, val and test get."""


def parse_split(option: str) -> Shares | None:
    """What `--split` asks for: shares of train, val and test, or None for the dataset's own split.

    Args:
        option: `official`, `identity:80/10/10` (percent), `all-train`, `all-val` or `all-test`.

    Raises:
        ConfigError: the option is none of these.
    """
    if option == "official":
        return None
    if option in (f"all-{split}" for split in SPLITS):
        train, val, test = (100 * (option == f"all-{split}") for split in SPLITS)
        return train, val, test
    if match := re.fullmatch(r"identity:(\d+)/(\d+)/(\d+)", option):
        train, val, test = map(int, match.groups())
        if train + val + test == 100:
            return train, val, test
    raise ConfigError(
        f"{option!r} is not a split: use official, identity:80/10/10 (percent, adding up to 100), "
        "all-train, all-val or all-test."
    )


def assign(entries: Sequence[VideoEntry], shares: Shares, seed: int = 0) -> list[VideoEntry]:
    """Give every video a split so that no subject, and no fake and its original, are in two.

    Videos that are linked by subjects or sources stay together. The largest such families are dealt
    first, each to the split that lacks most; equally large ones in an order drawn from `seed`, by
    subject, so that the same people land in the same split in every quality.

    Raises:
        ManifestError: there are fewer families than splits asked for.
    """
    families = _families(entries)
    families.sort(key=lambda family: (-len(family), _draw(family, seed)))
    lacking = {split: len(entries) * share / 100 for split, share in zip(SPLITS, shares, strict=True) if share}
    if len(families) < len(lacking):
        raise ManifestError(
            f"Shared subjects tie the {len(entries)} videos into {len(families)} families, too few for "
            f"{' and '.join(lacking)}: ask for fewer splits, such as --split all-test."
        )
    empty = list(lacking)
    split_of = {}
    for dealt, family in enumerate(families):
        # The last families go where nothing is yet, so that no split asked for stays empty.
        open_splits = empty if len(families) - dealt <= len(empty) else lacking
        split = max(open_splits, key=lacking.__getitem__)
        lacking[split] -= len(family)
        empty = [other for other in empty if other != split]
        split_of.update(dict.fromkeys((entry.video_id for entry in family), split))
    return [replace(entry, split=split_of[entry.video_id]) for entry in entries]


def _families(entries: Sequence[VideoEntry]) -> list[list[VideoEntry]]:
    """The connected components of videos over shared subjects and sources (union-find)."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for entry in entries:
        video = find(f"video {entry.video_id}")
        if entry.source_id is not None:
            parent[find(f"video {entry.source_id}")] = video
        for subject in entry.subject_ids:
            parent[find(f"subject {subject}")] = find(video)
    members: dict[str, list[VideoEntry]] = defaultdict(list)
    for entry in entries:
        members[find(f"video {entry.video_id}")].append(entry)
    return list(members.values())


def _draw(family: list[VideoEntry], seed: int) -> str:
    subjects = (subject for entry in family for subject in entry.subject_ids)
    name = min(subjects, default=None) or min(entry.video_id for entry in family)
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
