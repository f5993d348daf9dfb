"""Splits by identity: no subject, and no fake and its original, in two of them, and methods in proportion.

Two rules. Where swaps stay within small families, whole families are dealt. Where they tie nearly everybody
together (Celeb-DF, DFD), that would put all of it into one split: there, subjects are dealt, and the
fakes that join subjects of two splits are left out, or follow whom they show.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from facemill import ManifestError
from facemill.manifests.records import REFERENCE, SPLITS, VideoEntry
from facemill.manifests.scanning.splits import Shares
from facemill.seeded import seeded_hash

__all__ = ["assign", "assign_subjects", "keep_subjects_apart"]

FamilyOf = Callable[[VideoEntry], str | None]
"""What else than subjects and originals keeps videos together; None for nothing."""


def assign(
    entries: Sequence[VideoEntry], shares: Shares, seed: int = 0, *, family_of: FamilyOf = lambda _: None
) -> list[VideoEntry]:
    """Give every video a split so that no subject, and no fake and its original, are in two.

    Videos that are linked by subjects or sources stay together. The largest such families are dealt
    first, each to where it brings the methods nearest to their shares; equally large ones in an order
    drawn from `seed`, by subject, so that the same people land in the same split in every quality.

    Raises:
        ManifestError: there are fewer families than splits asked for.
    """
    families = _families(entries, family_of)
    splits = _asked_for(shares)
    if len(families) < len(splits):
        raise ManifestError(
            f"Shared subjects tie the {len(entries)} videos into {len(families)} families, too few for "
            f"{' and '.join(splits)}: ask for fewer splits, such as --split all-test."
        )
    split_of = _deal(families, _Lack(entries, splits), seed)
    return [replace(entry, split=split_of[entry.video_id]) for entry in entries]


def assign_subjects(
    entries: Sequence[VideoEntry], shares: Shares, seed: int = 0, *, whole: bool = False
) -> tuple[list[VideoEntry], list[VideoEntry]]:
    """Give every subject a split; return the videos of subjects of one split, and those left out.

    The smallest split grows around a subject drawn from `seed`, always by whoever shares most videos with
    those already in it, until it has its share; then the next; the largest takes the rest. So few
    videos are left out. Videos of nobody known are dealt last, to where their method lacks.

    Args:
        whole: leave out nothing: a fake that joins two splits goes where its first subject is, who is seen in it.

    Raises:
        ManifestError: there are fewer subjects (or videos of nobody known) than splits asked for.
    """
    splits = _asked_for(shares)
    split_of = _grow_splits(entries, splits, seed)
    kept, left_out, strangers = [], [], []
    for entry in entries:
        among = {split_of[subject] for subject in entry.subject_ids}
        if not among:
            strangers.append(entry)
        elif len(among) > 1 and not whole:
            left_out.append(entry)
        else:
            kept.append(replace(entry, split=split_of[entry.subject_ids[0]]))
    lack = _Lack([*kept, *strangers], splits)
    for entry in kept:
        lack.take(entry.split, [entry])
    dealt = _deal(_families(strangers), lack, seed)
    kept += [replace(entry, split=dealt[entry.video_id]) for entry in strangers]
    if empty := [split for split in splits if split not in {entry.split for entry in kept}]:
        raise ManifestError(
            f"There are too few subjects in {len(entries)} videos to fill {' and '.join(empty)}: "
            "ask for fewer splits, such as --split all-test."
        )
    return kept, left_out


def keep_subjects_apart(entries: Sequence[VideoEntry]) -> tuple[list[VideoEntry], list[VideoEntry]]:
    """The entries without videos of train or val that show a subject of test, or of train one of val; and those."""
    kept, left_out = [], []
    later: set[str] = set()
    for split in (REFERENCE, *reversed(SPLITS)):
        mine = [entry for entry in entries if entry.split == split]
        clean = [entry for entry in mine if later.isdisjoint(entry.subject_ids)]
        left_out += [entry for entry in mine if not later.isdisjoint(entry.subject_ids)]
        kept += clean
        later |= {subject for entry in clean for subject in entry.subject_ids if split != REFERENCE}
    return kept, left_out


class _Lack:
    """How many videos of each method each split still lacks, and where a family mends most of that."""

    def __init__(self, entries: Iterable[VideoEntry], shares: Mapping[str, float]) -> None:
        self._totals = Counter(entry.method for entry in entries)
        self._shares = shares
        self._by_split = {
            split: {method: share * total for method, total in self._totals.items()} for split, share in shares.items()
        }
        self.empty = set(shares)

    def best(self, family: Sequence[VideoEntry], splits: Iterable[str]) -> str:
        """Of `splits`, the one whose getting the family lessens chi-square most, every method counting alike.

        A split is so kept at its share from the first family to the last, and none that is too large
        for a small split goes there: chi-square is the sum of lack^2 / share.
        """
        made_of = Counter(entry.method for entry in family)

        def gain(split: str) -> float:
            lacking = self._by_split[split]
            mended = (
                count * (2 * lacking[method] - count) / self._totals[method] ** 2 for method, count in made_of.items()
            )
            return sum(mended) / self._shares[split]

        return max((split for split in self._shares if split in splits), key=gain)

    def take(self, split: str, family: Iterable[VideoEntry]) -> None:
        for entry in family:
            self._by_split[split][entry.method] -= 1
        self.empty.discard(split)


def _asked_for(shares: Shares) -> dict[str, float]:
    """Shares of 1, by split."""
    return {split: share / 100 for split, share in zip(SPLITS, shares, strict=True) if share}


def _deal(families: list[list[VideoEntry]], lack: _Lack, seed: int) -> dict[str, str]:
    """Splits by video id: each family goes where its methods are lacking, the largest first."""
    families = sorted(families, key=lambda family: (-len(family), _draw(family, seed)))
    split_of = {}
    for dealt, family in enumerate(families):
        # The last families go where nothing is yet, so that no split asked for stays empty.
        open_splits = lack.empty if len(families) - dealt <= len(lack.empty) else SPLITS
        split = lack.best(family, open_splits)
        lack.take(split, family)
        split_of.update(dict.fromkeys((entry.video_id for entry in family), split))
    return split_of


def _grow_splits(entries: Sequence[VideoEntry], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Splits by subject."""
    seen = Counter(subject for entry in entries for subject in entry.subject_ids)
    shared: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for one, other in combinations(set(entry.subject_ids), 2):
            shared[one][other] += 1
            shared[other][one] += 1
    waiting = sorted(seen, key=lambda subject: seeded_hash(seed, subject))
    *small, rest = sorted(shares, key=shares.__getitem__)
    split_of: dict[str, str] = {}
    for filled, split in enumerate(small, start=1):
        members: list[str] = []
        lacking = shares[split] * seen.total()
        while len(waiting) > len(shares) - filled:  # one subject at least stays for each split to come
            nearest = max(waiting, key=lambda subject: sum(shared[subject][member] for member in members))
            if members and seen[nearest] / 2 > lacking:
                break
            waiting.remove(nearest)
            members.append(nearest)
            lacking -= seen[nearest]
        split_of |= dict.fromkeys(members, split)
    return split_of | dict.fromkeys(waiting, rest)


def _families(entries: Sequence[VideoEntry], family_of: FamilyOf = lambda _: None) -> list[list[VideoEntry]]:
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
        family = family_of(entry)
        ties = [f"subject {subject}" for subject in entry.subject_ids]
        ties += [f"video {entry.source_id}"] if entry.source_id is not None else []
        ties += [f"family {family}"] if family is not None else []
        for tie in ties:
            parent[find(tie)] = find(video)
    members: dict[str, list[VideoEntry]] = defaultdict(list)
    for entry in entries:
        members[find(f"video {entry.video_id}")].append(entry)
    return list(members.values())


def _draw(family: list[VideoEntry], seed: int) -> int:
    subjects = (subject for entry in family for subject in entry.subject_ids)
    return seeded_hash(seed, min(subjects, default=None) or min(entry.video_id for entry in family))
