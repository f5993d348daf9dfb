"""Merging manifests: ids stay unique, and the same video by two roads is found."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from facemill import ManifestError
from facemill.manifests.records import REFERENCE, VideoEntry
from facemill.manifests.scanning.contents import read_contents, size_of
from facemill.manifests.scanning.listing import locate
from facemill.manifests.validation import check, shared_subjects

__all__ = ["Merged", "merge"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Merged:
    """A manifest made of several.

    Attributes:
        entries: sorted by `video_id`.
        duplicates: what was left out and what was kept instead, as places; the same bytes.
        renamed: new ids by the places of videos whose id an earlier manifest uses for another video.
    """

    entries: list[VideoEntry]
    duplicates: list[tuple[str, str]]
    renamed: dict[str, str]

    def lines(self) -> list[str]:
        """What was done, a line a kind."""
        kinds = {
            "left out, the same video as": [f"{left} = {kept}" for left, kept in self.duplicates],
            "given another id": [f"{place} -> {video_id}" for place, video_id in self.renamed.items()],
        }
        kinds["SUBJECTS IN TWO SPLITS"] = shared_subjects(self.entries)
        return [f"{kind}: {len(told)} ({_shorten(told)})" for kind, told in kinds.items() if told]


def merge(manifests: Sequence[Sequence[VideoEntry]], *, drop_duplicates: bool = False) -> Merged:
    """One manifest of several.

    Two videos of different manifests are the same where they are one file, or have the same size and bytes;
    only videos of equal size are read. An id that an earlier manifest uses for another video gets eight hex
    digits of the file's place.

    Args:
        drop_duplicates: keep the earlier manifest's entry of a video that is in two, rather than refuse.

    Raises:
        ManifestError: the same video twice (or once real and once fake), a video of unknown size that is not
            there to be compared, or a manifest that breaks a rule.
    """
    numbered = [(number, entry) for number, entries in enumerate(manifests) for entry in entries]
    same_as = _find_duplicates(numbered)
    duplicates = [(_place(numbered[late][1]), _place(numbered[early][1])) for late, early in same_as.items()]
    if duplicates and not drop_duplicates:
        told = [f"{late} = {early}" for late, early in duplicates]
        raise ManifestError(
            f"{len(told)} videos are in two manifests ({_shorten(told)}): pass --drop-duplicates to keep the first."
        )
    new_ids = _unique_ids(numbered, same_as)
    entries = [
        replace(entry, video_id=new_ids[number, entry.video_id], source_id=_source(new_ids, number, entry))
        for position, (number, entry) in enumerate(numbered)
        if position not in same_as
    ]
    check(entries)
    renamed = {
        _place(entry): new_ids[number, entry.video_id]
        for position, (number, entry) in enumerate(numbered)
        if position not in same_as and new_ids[number, entry.video_id] != entry.video_id
    }
    return Merged(sorted(entries, key=lambda entry: entry.video_id), duplicates, renamed)


def _find_duplicates(numbered: Sequence[tuple[int, VideoEntry]]) -> dict[int, int]:
    """Positions of videos that an earlier manifest has already, and where it has them."""
    by_content: dict[object, list[int]] = defaultdict(list)
    for position, (_, entry) in enumerate(numbered):
        by_content[_place(entry)].append(position)
    candidates = list(_candidates(numbered))
    entries = [numbered[position][1] for position in candidates]
    unhashed = [place for place, entry in enumerate(entries) if entry.content_hash is None]
    hashes = [entry.content_hash for entry in entries]
    for place, content in zip(unhashed, read_contents([entries[place] for place in unhashed]), strict=True):
        hashes[place] = None if content is None else content.hash
    for position, told in zip(candidates, hashes, strict=True):
        if told is not None:
            by_content[told].append(position)
    same_as: dict[int, int] = {}
    for positions in by_content.values():
        first, *others = sorted(positions, key=lambda position: numbered[position][1].split == REFERENCE)
        for late in others:
            if numbered[late][0] != numbered[first][0]:
                _refuse_contradiction(numbered[first][1], numbered[late][1])
                same_as[late] = first
    return same_as


def _candidates(numbered: Sequence[tuple[int, VideoEntry]]) -> Iterator[int]:
    """Positions of videos of a size (of more than no bytes) that another manifest has too; sequences count as one."""
    by_size: dict[int | None, list[int]] = defaultdict(list)
    for position, (_, entry) in enumerate(numbered):
        try:
            by_size[size_of(entry)].append(position)
        except OSError as error:
            raise ManifestError(
                f"{_place(entry)} cannot be compared ({error}): merge where the videos are, or scan with --hash."
            ) from error
    for size, positions in by_size.items():
        if size != 0 and len({numbered[position][0] for position in positions}) > 1:
            yield from positions


def _unique_ids(numbered: Sequence[tuple[int, VideoEntry]], same_as: dict[int, int]) -> dict[tuple[int, str], str]:
    """New ids by manifest and old id; that of a duplicate is the id of what was kept."""
    taken: set[str] = set()
    new_ids: dict[tuple[int, str], str] = {}
    for position, (number, entry) in enumerate(numbered):
        if position in same_as:
            continue
        video_id = entry.video_id
        if video_id in taken:
            video_id = f"{video_id}-{hashlib.sha256(_place(entry).encode()).hexdigest()[:8]}"
        taken.add(video_id)
        new_ids[number, entry.video_id] = video_id
    for late, early in same_as.items():
        kept_number, kept = numbered[early]
        new_ids[numbered[late][0], numbered[late][1].video_id] = new_ids[kept_number, kept.video_id]
    return new_ids


def _source(new_ids: dict[tuple[int, str], str], number: int, entry: VideoEntry) -> str | None:
    return None if entry.source_id is None else new_ids[number, entry.source_id]


def _refuse_contradiction(one: VideoEntry, other: VideoEntry) -> None:
    if one.label != other.label:
        raise ManifestError(f"{_place(one)} and {_place(other)} are the same video, once real and once fake: mend one.")


def _place(entry: VideoEntry) -> str:
    return locate(entry.root, entry.path)


def _shorten(told: Sequence[str]) -> str:
    return ", ".join(told[:_SHOWN]) + (f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else "")
