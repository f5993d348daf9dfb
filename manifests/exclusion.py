"""Lists of videos and samples to leave out: one id a line, as `facemill view` saves them."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from facemill.errors import ConfigError
from facemill.manifests.printable import printable, shorten
from facemill.manifests.records import REFERENCE, ClipGroup

__all__ = ["list_ids", "refuse_unknown", "sample_id_of", "sampled_rest", "video_of"]

_SAMPLE_ID = re.compile(r"(.+)-f\d{6,}-t\d+")
LONGEST_LIST = 64 << 20
"""Bytes of a file of ids that is read."""


def list_ids(given: str | Path | Iterable[str]) -> tuple[str, ...]:
    """The distinct ids of videos and samples, sorted.

    Args:
        given: ids, or a text file with one a line; blank lines and those that begin with `#` are skipped.

    Raises:
        ConfigError: the file cannot be read as text.
    """
    if not isinstance(given, str | Path):
        return tuple(sorted(set(given)))
    try:
        with Path(given).open("rb") as file:
            lines = file.read(LONGEST_LIST).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"The list of excluded ids {given} cannot be read ({reason}): give a text file.") from None
    return tuple(sorted({line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")}))


def sample_id_of(video_id: str, frame_index: int, track_id: int) -> str:
    return f"{video_id}-f{frame_index:06d}-t{track_id}"


def video_of(sample_id: str) -> str | None:
    """The video of a sample id; None if it does not have the form of one."""
    matched = _SAMPLE_ID.fullmatch(sample_id)
    return None if matched is None else matched[1]


def refuse_unknown(ids: Iterable[str], known: Collection[str], where: str) -> None:
    """Check the ids of a list.

    Raises:
        ConfigError: names some of those that are not `known`, the ids in `where`.
    """
    if unknown := [printable(one) for one in ids if one not in known]:
        raise ConfigError(
            f"{len(unknown)} excluded ids are of no video or sample of {where} ({shorten(unknown)}): correct the list."
        )


def sampled_rest(group: ClipGroup, excluded: Collection[str]) -> ClipGroup | None:
    """The group without the videos of these ids; None if no video is left to sample.

    An excluded original stays as the reference that its other fakes are compared with, and yields no samples.
    """
    fakes = tuple(fake for fake in group.fakes if fake.video_id not in excluded)
    real = group.real
    if real is not None and real.video_id in excluded:
        real = replace(real, split=REFERENCE)
    if not fakes and (real is None or real.split != group.split):
        return None
    return ClipGroup(real, fakes)
