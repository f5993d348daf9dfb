"""The rules of a manifest, each checked over all rows."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from facemill import ManifestError
from facemill.manifests.printable import shorten
from facemill.manifests.records import LABELS, REFERENCE, SPLITS, VideoEntry

__all__ = ["Violation", "check", "shared_subjects", "validate"]

_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule, in words, and the rows that break it."""

    rule: str
    sentence: str
    video_ids: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.sentence} ({shorten(self.video_ids)})" if self.video_ids else self.sentence


def validate(entries: Sequence[VideoEntry]) -> list[Violation]:
    """Return every broken rule, with all rows that break it in the manifest's order."""
    if not entries:
        return [Violation("not_empty", "a manifest has at least one video", ())]
    found = ((rule, sentence, tuple(broken_by(entries))) for rule, (sentence, broken_by) in _RULES.items())
    return [Violation(rule, sentence, ids) for rule, sentence, ids in found if ids]


def check(entries: Sequence[VideoEntry]) -> None:
    """Reject an invalid manifest.

    Raises:
        ManifestError: names every broken rule, and the first rows that break it.
    """
    if violations := validate(entries):
        raise ManifestError(f"The manifest is invalid: {'; '.join(map(str, violations))}.")


def shared_subjects(entries: Iterable[VideoEntry]) -> list[str]:
    """Subjects with samples in more than one split, sorted; allowed, since some official splits share subjects."""
    first: dict[str, str] = {}
    shared = {
        subject
        for entry in entries
        if entry.split != REFERENCE
        for subject in entry.subject_ids
        if first.setdefault(subject, entry.split) != entry.split
    }
    return sorted(shared)


def _repeated_ids(entries: Sequence[VideoEntry]) -> Iterator[str]:
    counts = Counter(entry.video_id for entry in entries)
    return (video_id for video_id, count in counts.items() if count > 1)


def _odd_ids(entries: Sequence[VideoEntry]) -> Iterator[str]:
    return (entry.video_id for entry in entries if not _VIDEO_ID.fullmatch(entry.video_id))


def _odd_labels(entries: Sequence[VideoEntry]) -> Iterator[str]:
    for entry in entries:
        if entry.label not in range(len(LABELS)) or (entry.label == 0) != (entry.method == "real"):
            yield entry.video_id


def _unknown_splits(entries: Sequence[VideoEntry]) -> Iterator[str]:
    originals = {entry.source_id for entry in entries}
    for entry in entries:
        if entry.split not in SPLITS and (entry.split != REFERENCE or entry.video_id not in originals):
            yield entry.video_id


def _reals_with_source(entries: Sequence[VideoEntry]) -> Iterator[str]:
    return (entry.video_id for entry in entries if entry.label == 0 and entry.source_id is not None)


def _unknown_sources(entries: Sequence[VideoEntry]) -> Iterator[str]:
    reals = {entry.video_id for entry in entries if entry.label == 0}
    for entry in entries:
        if entry.source_id is not None and entry.source_id not in reals:
            yield entry.video_id


def _pairs_across_qualities(entries: Sequence[VideoEntry]) -> Iterator[str]:
    reals = {entry.video_id: entry.quality for entry in entries if entry.label == 0}
    for entry in entries:
        levels = {entry.quality, reals.get(entry.source_id or "", entry.quality)}
        if len(levels) > 1 and "native" not in levels:
            yield entry.video_id


def _repeated_files(entries: Sequence[VideoEntry]) -> Iterator[str]:
    counts = Counter((entry.root, entry.path) for entry in entries)
    return (entry.video_id for entry in entries if counts[entry.root, entry.path] > 1)


def _odd_periods(entries: Sequence[VideoEntry]) -> Iterator[str]:
    for entry in entries:
        periods = entry.fake_periods
        if periods is not None and (entry.label == 0 or not periods or not all(0 <= a < b for a, b in periods)):
            yield entry.video_id


def _odd_content(entries: Sequence[VideoEntry]) -> Iterator[str]:
    return (entry.video_id for entry in entries if entry.content not in (None, "frames", "crops"))


def _odd_paths(entries: Sequence[VideoEntry]) -> Iterator[str]:
    for entry in entries:
        if not _is_relative(entry.path) or not (entry.mask_path is None or _is_relative(entry.mask_path)):
            yield entry.video_id


def _is_relative(path: str) -> bool:
    return not any(part in ("", ".", "..") for part in path.split("/"))


_RULES: dict[str, tuple[str, Callable[[Sequence[VideoEntry]], Iterable[str]]]] = {
    "unique_id": ("a video_id is unique", _repeated_ids),
    "id_characters": ("a video_id is made of letters, digits, '_' and '-'", _odd_ids),
    "label": ("a label is 0 if the method is 'real', and 1 otherwise", _odd_labels),
    "split": (f"a split is one of {', '.join(SPLITS)}; for the original of a fake also {REFERENCE}", _unknown_splits),
    "real_source": ("a real video has no source_id", _reals_with_source),
    "known_source": ("a source_id names a real video of the manifest", _unknown_sources),
    "pair_quality": ("a fake has the quality of its original, unless one of them is native", _pairs_across_qualities),
    "fake_periods": ("fake_periods are of a fake, start at 0 or later and end after their start", _odd_periods),
    "content": ("content is frames or crops, and empty for a video", _odd_content),
    "unique_file": ("a file appears in one row only", _repeated_files),
    "relative_path": ("a path is relative to the root, with '/' and without '..'", _odd_paths),
}
