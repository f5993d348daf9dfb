"""Who is seen: subjects named by a pattern on paths, and what a split by identity can go by."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from facemill import ConfigError, ManifestError
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.identity_splits import FamilyOf

__all__ = ["name_subjects", "what_is_unknown"]


def name_subjects(entries: Sequence[VideoEntry], pattern: str) -> list[VideoEntry]:
    r"""Name the subjects of videos that have none: `\d{3}` finds `004` and `005` in `fake/004_005.mp4`.

    Raises:
        ConfigError: it is no regular expression, or matches in no path.
    """
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--subject {pattern!r} is no regular expression ({error}): mend it.") from error
    named = [
        entry if entry.subject_ids else replace(entry, subject_ids=tuple(_subjects(entry, rule))) for entry in entries
    ]
    if not any(entry.subject_ids for entry in named):
        raise ConfigError(f"--subject {pattern!r} matches in no path, such as {entries[0].path}: mend it.")
    return named


def _subjects(entry: VideoEntry, rule: re.Pattern[str]) -> dict[str, None]:
    """Each name once, in the path's order."""
    found = (name for match in rule.finditer(entry.path) for name in (match.groups() or (match[0],)))
    return dict.fromkeys(f"{entry.dataset}-{name}" for name in found if name)


def what_is_unknown(entries: Sequence[VideoEntry], family_of: FamilyOf) -> Iterator[str]:
    """Sentences on what a split by identity cannot keep apart.

    Raises:
        ManifestError: nothing ties any video to another: dealt one by one, anybody would be in every split.
    """
    originals = {entry.source_id for entry in entries}
    tied = [entry.source_id is not None or entry.video_id in originals for entry in entries]
    stray = [
        not (entry.subject_ids or paired or family_of(entry) is not None)
        for entry, paired in zip(entries, tied, strict=True)
    ]
    if all(stray):
        raise ManifestError(
            "Nothing tells who is seen in these videos, so they cannot be split by identity: name the subjects by a "
            r"pattern on paths, such as --subject '\d{3}', or give a table with a column subject or source."
        )
    if not any(entry.subject_ids for entry in entries):
        yield "No subjects are known: pairs and folders only keep videos together (--subject REGEX can name subjects)."
    if sum(stray):
        yield f"{sum(stray)} videos show nobody known and are dealt one by one."
