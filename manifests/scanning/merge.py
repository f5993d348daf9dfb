"""Merges manifests: keeps ids unique, and finds duplicate videos."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from facemill import ManifestError
from facemill.manifests.printable import shorten
from facemill.manifests.records import REFERENCE, VideoEntry
from facemill.manifests.scanning.contents import read_contents, size_of
from facemill.manifests.scanning.listing import locate
from facemill.manifests.validation import check, shared_subjects

__all__ = ["Merged", "merge"]


@dataclass(frozen=True, slots=True)
class Merged:
    """A manifest merged from several.

    Attributes:
        entries: sorted by `video_id`.
        duplicates: (left out, kept) pairs of locations of identical videos.
        renamed: new ids by location, for videos whose id an earlier manifest uses for another video.
    """

    entries: list[VideoEntry]
    duplicates: list[tuple[str, str]]
    renamed: dict[str, str]

    def lines(self) -> list[str]:
        """Summarise the merge, one line per kind of change."""
        kinds = {
            "left out as duplicates": [f"{left} = {kept}" for left, kept in self.duplicates],
            "given another id": [f"{place} -> {video_id}" for place, video_id in self.renamed.items()],
            "SUBJECTS IN TWO SPLITS": shared_subjects(self.entries),
        }
        return [f"{kind}: {len(names)} ({shorten(names)})" for kind, names in kinds.items() if names]


def merge(manifests: Sequence[Sequence[VideoEntry]], *, drop_duplicates: bool = False) -> Merged:
    """Merge several manifests into one.

    Two videos of different manifests are duplicates if they are the same file, or have the same size and bytes;
    only videos of equal size are read. An id that an earlier manifest uses for another video is extended by eight
    hex digits of a hash of the file's location.

    Args:
        drop_duplicates: keep the earlier manifest's entry of a duplicate instead of raising an error.

    Raises:
        ManifestError: a duplicate video (or one that is both real and fake), a missing video of unknown size, or
            a manifest that breaks a rule.
    """
    numbered = [(number, entry) for number, entries in enumerate(manifests) for entry in entries]
    same_as = _find_duplicates(numbered)
    duplicates = [
        (_place(numbered[late][1]), _place(numbered[early][1]))
        for late, early in same_as.items()
        if numbered[late][1].split != REFERENCE  # the original of another manifest's fakes: the same video, as intended
    ]
    if duplicates and not drop_duplicates:
        pairs = [f"{late} = {early}" for late, early in duplicates]
        raise ManifestError(
            f"{len(pairs)} videos are in two manifests ({shorten(pairs)}): pass --drop-duplicates to keep the first."
        )
    new_ids = _unique_ids(numbered, same_as)
    kept = [one for position, one in enumerate(numbered) if position not in same_as]
    entries = [
        replace(
            entry,
            video_id=new_ids[number, entry.video_id],
            source_id=None if entry.source_id is None else new_ids[number, entry.source_id],
        )
        for number, entry in kept
    ]
    check(entries)
    both = zip(kept, entries, strict=True)
    renamed = {_place(old): new.video_id for (_, old), new in both if old.video_id != new.video_id}
    return Merged(sorted(entries, key=lambda entry: entry.video_id), duplicates, renamed)


def _find_duplicates(numbered: Sequence[tuple[int, VideoEntry]]) -> dict[int, int]:
    """Map positions of duplicate videos to the position of the entry in an earlier manifest."""
    by_content: dict[object, list[int]] = defaultdict(list)
    for position, (_, entry) in enumerate(numbered):
        by_content[_place(entry)].append(position)
    hashes = {position: numbered[position][1].content_hash for position in _candidates(numbered)}
    unhashed = [position for position, content_hash in hashes.items() if content_hash is None]
    contents = read_contents([numbered[position][1] for position in unhashed])
    for position, content in zip(unhashed, contents, strict=True):
        hashes[position] = None if content is None else content.hash
    for position, content_hash in hashes.items():
        if content_hash is not None:
            by_content[content_hash].append(position)
    same_as: dict[int, int] = {}
    for positions in by_content.values():
        first, *others = sorted(positions, key=lambda position: numbered[position][1].split == REFERENCE)
        for late in others:
            if numbered[late][0] != numbered[first][0]:
                one, other = numbered[first][1], numbered[late][1]
                if one.label != other.label:
                    places = f"{_place(one)} and {_place(other)}"
                    raise ManifestError(f"{places} are the same video, as real and as fake: correct one.")
                same_as[late] = first
    return same_as


def _candidates(numbered: Sequence[tuple[int, VideoEntry]]) -> Iterator[int]:
    """Positions of non-empty videos whose size occurs in another manifest too; all sequences count as one size."""
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
    """New ids by manifest and old id; a duplicate gets the id of the kept entry."""
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


def _place(entry: VideoEntry) -> str:
    return locate(entry.root, entry.path)
