"""Subjects: naming them by a pattern on paths, and warnings about what a split by identity cannot separate."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from facemill import ConfigError, ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.identity_splits import FamilyOf

__all__ = ["name_subjects", "unknown_subject_notes"]


def name_subjects(entries: Sequence[VideoEntry], pattern: str) -> list[VideoEntry]:
    r"""Name the subjects of videos that have none: `\d{3}` finds `004` and `005` in `fake/004_005.mp4`.

    Raises:
        ConfigError: it is not a regular expression, or matches in no path.
    """
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--subject {pattern!r} is not a regular expression ({error}): correct it.") from error
    named = [
        entry if entry.subject_ids else replace(entry, subject_ids=tuple(_subjects(entry, rule))) for entry in entries
    ]
    if not any(entry.subject_ids for entry in named):
        raise ConfigError(f"--subject {pattern!r} matches no path, such as {entries[0].path}: correct it.")
    return named


def _subjects(entry: VideoEntry, rule: re.Pattern[str]) -> dict[str, None]:
    """Each name once, in order of appearance in the path."""
    found = (name for match in rule.finditer(entry.path) for name in (match.groups() or (match[0],)))
    return dict.fromkeys(f"{entry.dataset}-{name}" for name in found if name)


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
