"""Train, val and test: the `--split` option, and splits from a user's table."""

import re
from collections.abc import Iterable
from dataclasses import replace

from facemill import ConfigError, ManifestError
from facemill.manifests.records import REFERENCE, SPLITS, VideoEntry
from facemill.manifests.scanning.listing import one_form
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.tables import read_table

__all__ = ["OFFICIAL", "Shares", "add_references", "assign_from_table", "parse_split", "split_named"]

OFFICIAL = "official"
Shares = tuple[int, int, int]
"""Percentages of the videos for train, val and test."""

_USUAL: Shares = (80, 10, 10)
_NAMES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}
_COLUMNS = ("video_id", "path", "split")


def parse_split(option: str) -> Shares | str:
    """Parse `--split`: shares of train, val and test, `OFFICIAL`, or the path of a table.

    Args:
        option: `official`, `identity` (80/10/10) or `identity:70/20/10` (percent), `all-train`, `all-val`,
            `all-test`, or a CSV or Parquet file with columns `video_id` or `path`, and `split`.

    Raises:
        ConfigError: the option is none of these.
    """
    if option == OFFICIAL or option.lower().endswith((".csv", ".parquet")):
        return option
    if option in (f"all-{split}" for split in SPLITS):
        train, val, test = (100 * (option == f"all-{split}") for split in SPLITS)
        return train, val, test
    if option == "identity":
        return _USUAL
    if match := re.fullmatch(r"identity:(\d+)/(\d+)/(\d+)", option):
        train, val, test = map(int, match.groups())
        if train + val + test == 100:
            return train, val, test
    raise ConfigError(
        f"{option!r} is not a split: use official, identity:80/10/10 (percent, adding up to 100), "
        "all-train, all-val, all-test, or a table (.csv or .parquet) of video_id or path, and split."
    )


def split_named(text: str | None) -> str:
    """The split that a word in a table means, such as `validation`; an unknown word is returned unchanged."""
    word = (text or "").strip().lower()
    return _NAMES.get(word, word)


def assign_from_table(report: ScanReport, place: str) -> None:
    """Assign every entry the split given in the table; entries that it does not name are left out as unsplit.

    Ids and paths that the table names and that do not exist are reported as missing.

    Raises:
        ManifestError: the table cannot be read, names no videos or other splits, or contradicts itself.
    """
    split_of = _read_splits(place)
    names = {name for entry in report.entries for name in (entry.video_id, one_form(entry.path))}
    report.missing = sorted({*report.missing, *(split_of.keys() - names)})
    kept = []
    for entry in report.entries:
        splits = {split_of[name] for name in (entry.video_id, one_form(entry.path)) if name in split_of}
        if len(splits) > 1:
            raise ManifestError(f"{place} puts {entry.path} into {' and '.join(sorted(splits))}: keep one row.")
        if splits:
            kept.append(replace(entry, split=splits.pop()))
        else:
            report.unsplit.append(entry.path)
    report.entries = kept


def add_references(report: ScanReport, found: Iterable[VideoEntry]) -> None:
    """Keep originals that a split left out, but whose fakes it kept, as references; drop all other references.

    Args:
        found: every video, before some were left out.
    """
    report.entries = [entry for entry in report.entries if entry.split != REFERENCE]
    kept = {entry.video_id for entry in report.entries}
    wanted = {entry.source_id for entry in report.entries} - kept
    report.entries += [replace(entry, split=REFERENCE) for entry in found if entry.video_id in wanted]
    left = {entry.path for entry in report.entries}
    report.unpaired = [path for path in report.unpaired if path in left]


def _read_splits(place: str) -> dict[str, str]:
    """Splits by id or path."""
    split_of: dict[str, str] = {}
    for number, row in enumerate(read_table(place, _COLUMNS, {"split"}), start=1):
        name, split = one_form(row["video_id"] or row["path"] or "") or None, split_named(row["split"])
        if name is None or split not in SPLITS:
            raise ManifestError(
                f"Row {number} of {place} is not a video_id or path with a split of {', '.join(SPLITS)}: correct it."
            )
        if split_of.setdefault(name, split) != split:
            raise ManifestError(f"{place} puts {name} into {split_of[name]} and {split}: keep one row.")
    return split_of
