"""Splits by identity: every subject, and every fake with its original, is in one split; methods in proportion.

There are two rules. If swaps stay within small families, whole families are assigned to splits. If swaps link
nearly all subjects (Celeb-DF, DFD), that would put everything into one split: subjects are assigned instead, and
fakes that link subjects of two splits are left out, or follow their target subject.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from facemill import ManifestError
from facemill.manifests.records import REFERENCE, SPLITS, VideoEntry
from facemill.manifests.scanning.splits import Shares
from facemill.seeded import seeded_hash

__all__ = ["assign", "assign_subjects", "keep_subjects_apart", "unknown_subject_notes"]

FamilyOf = Callable[[VideoEntry], str | None]
"""What keeps videos together besides subjects and originals; None for nothing."""


def assign(
    entries: Sequence[VideoEntry], shares: Shares, seed: int = 0, *, family_of: FamilyOf = lambda _: None
) -> list[VideoEntry]:
    """Assign every video a split so that no subject, and no fake and its original, is in two splits.

    Videos linked by subjects or sources stay together. The largest such families are assigned first, each to the
    split where it brings the methods closest to their shares. Families of equal size are ordered by a hash of
    `seed` and subject, so that a subject is in the same split in every quality.

    Raises:
        ManifestError: there are fewer families than requested splits.
    """
    families = _families(entries, family_of)
    splits = _asked_for(shares)
    if len(families) < len(splits):
        raise ManifestError(
            f"Shared subjects link the {len(entries)} videos into {len(families)} families, too few for "
            f"{' and '.join(splits)}: ask for fewer splits, such as --split all-test."
        )
    split_of = _assign_families(families, _Deficit(entries, splits), seed)
    return [replace(entry, split=split_of[entry.video_id]) for entry in entries]


def assign_subjects(
    entries: Sequence[VideoEntry], shares: Shares, seed: int = 0, *, whole: bool = False
) -> tuple[list[VideoEntry], list[VideoEntry]]:
    """Assign every subject a split; return the videos whose subjects are in one split, and those left out.

    The smallest split is grown first: starting from a subject chosen by `seed`, the subject that shares most videos
    with its members is added until the split has its share. The largest split takes the rest. This leaves out few
    videos. Videos without known subjects are assigned last, to the split that lacks their method most.

    Args:
        whole: leave out nothing: a fake that links two splits goes to the split of its first subject, the target.

    Raises:
        ManifestError: there are fewer subjects (or videos without known subjects) than requested splits.
    """
    splits = _asked_for(shares)
    split_of = _grow_splits(entries, splits, seed)
    kept, left_out, unnamed = [], [], []
    for entry in entries:
        among = {split_of[subject] for subject in entry.subject_ids}
        if not among:
            unnamed.append(entry)
        elif len(among) > 1 and not whole:
            left_out.append(entry)
        else:
            kept.append(replace(entry, split=split_of[entry.subject_ids[0]]))
    deficit = _Deficit([*kept, *unnamed], splits)
    for entry in kept:
        deficit.take(entry.split, [entry])
    assigned = _assign_families(_families(unnamed), deficit, seed)
    kept += [replace(entry, split=assigned[entry.video_id]) for entry in unnamed]
    if empty := [split for split in splits if split not in {entry.split for entry in kept}]:
        raise ManifestError(
            f"There are too few subjects in {len(entries)} videos to fill {' and '.join(empty)}: "
            "ask for fewer splits, such as --split all-test."
        )
    return kept, left_out


def keep_subjects_apart(entries: Sequence[VideoEntry]) -> tuple[list[VideoEntry], list[VideoEntry]]:
    """Separate videos of train and val with a subject of test, or of train with one of val: (kept, left out)."""
    kept, left_out = [], []
    later: set[str] = set()
    for split in (REFERENCE, *reversed(SPLITS)):
        mine = [entry for entry in entries if entry.split == split]
        clean = [entry for entry in mine if later.isdisjoint(entry.subject_ids)]
        left_out += [entry for entry in mine if not later.isdisjoint(entry.subject_ids)]
        kept += clean
        later |= {subject for entry in clean for subject in entry.subject_ids if split != REFERENCE}
    return kept, left_out


def unknown_subject_notes(entries: Sequence[VideoEntry], family_of: FamilyOf) -> Iterator[str]:
    """Notes about videos that a split by identity cannot keep apart.

    Raises:
        ManifestError: no videos are linked in any way: assigned one by one, subjects would be in several splits.
    """
    originals = {entry.source_id for entry in entries}
    tied = [entry.source_id is not None or entry.video_id in originals for entry in entries]
    stray = [
        not (entry.subject_ids or paired or family_of(entry) is not None)
        for entry, paired in zip(entries, tied, strict=True)
    ]
    if all(stray):
        raise ManifestError(
            "The subjects of these videos are unknown, so they cannot be split by identity: name the subjects by a "
            r"pattern on paths, such as --subject '\d{3}', or use a table with a column subject or source."
        )
    if not any(entry.subject_ids for entry in entries):
        yield "No subjects are known: only pairs and folders keep videos together (--subject REGEX can name subjects)."
    if sum(stray):
        yield f"{sum(stray)} videos have no known subject and are assigned one by one."


class _Deficit:
    """How many videos of each method each split still lacks, and which split a family fits best."""

    def __init__(self, entries: Iterable[VideoEntry], shares: Mapping[str, float]) -> None:
        self._totals = Counter(entry.method for entry in entries)
        self._shares = shares
        self._by_split = {
            split: {method: share * total for method, total in self._totals.items()} for split, share in shares.items()
        }
        self.empty = set(shares)

    def best(self, family: Sequence[VideoEntry], splits: Iterable[str]) -> str:
        """The split among `splits` for which adding the family reduces chi-square most, with equal weight per method.

        Chi-square is the sum of deficit^2 / share. This keeps every split near its share throughout, and keeps
        large families out of small splits.
        """
        made_of = Counter(entry.method for entry in family)

        def gain(split: str) -> float:
            lacking = self._by_split[split]
            reduction = (
                count * (2 * lacking[method] - count) / self._totals[method] ** 2 for method, count in made_of.items()
            )
            return sum(reduction) / self._shares[split]

        return max((split for split in self._shares if split in splits), key=gain)

    def take(self, split: str, family: Iterable[VideoEntry]) -> None:
        for entry in family:
            self._by_split[split][entry.method] -= 1
        self.empty.discard(split)


def _asked_for(shares: Shares) -> dict[str, float]:
    """Shares by split, adding up to 1."""
    return {split: share / 100 for split, share in zip(SPLITS, shares, strict=True) if share}


def _assign_families(families: list[list[VideoEntry]], deficit: _Deficit, seed: int) -> dict[str, str]:
    """Splits by video id: each family goes to the split that lacks its methods most, the largest family first."""
    families = sorted(families, key=lambda family: (-len(family), _rank(family, seed)))
    split_of = {}
    for number, family in enumerate(families):
        # The last families go to empty splits, so that no requested split stays empty.
        open_splits = deficit.empty if len(families) - number <= len(deficit.empty) else SPLITS
        split = deficit.best(family, open_splits)
        deficit.take(split, family)
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
        while len(waiting) > len(shares) - filled:  # leave at least one subject for each remaining split
            nearest = max(waiting, key=lambda subject: sum(shared[subject][member] for member in members))
            if members and seen[nearest] / 2 > lacking:
                break
            waiting.remove(nearest)
            members.append(nearest)
            lacking -= seen[nearest]
        split_of |= dict.fromkeys(members, split)
    return split_of | dict.fromkeys(waiting, rest)


def _families(entries: Sequence[VideoEntry], family_of: FamilyOf = lambda _: None) -> list[list[VideoEntry]]:
    """The connected components of videos over shared subjects and sources."""
    from scipy.sparse import coo_array  # a tenth of a second, which other scans do without
    from scipy.sparse.csgraph import connected_components

    nodes: dict[str, int] = {f"video {entry.video_id}": number for number, entry in enumerate(entries)}
    edges = []
    for number, entry in enumerate(entries):
        family = family_of(entry)
        ties = [f"subject {subject}" for subject in entry.subject_ids]
        ties += [f"video {entry.source_id}"] if entry.source_id is not None else []
        ties += [f"family {family}"] if family is not None else []
        edges += [(number, nodes.setdefault(tie, len(nodes))) for tie in ties]
    ends = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), np.int8), (ends[0], ends[1])), shape=(len(nodes), len(nodes)))
    component = connected_components(graph, directed=False)[1]
    members: dict[int, list[VideoEntry]] = defaultdict(list)
    for entry, number in zip(entries, component.tolist(), strict=False):  # what follows the videos is what ties them
        members[number].append(entry)
    return list(members.values())


def _rank(family: list[VideoEntry], seed: int) -> int:
    subjects = (subject for entry in family for subject in entry.subject_ids)
    return seeded_hash(seed, min(subjects, default=None) or min(entry.video_id for entry in family))
