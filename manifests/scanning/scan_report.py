"""The result of a scan, compared with the counts that the dataset's authors published."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from facemill.manifests.printable import shorten
from facemill.manifests.records import SPLITS, VideoEntry
from facemill.manifests.scanning.listing import Listing
from facemill.manifests.validation import shared_subjects

__all__ = ["ALL_FAKES", "ALL_SPLITS", "Count", "ScanReport"]

Count = tuple[str, str, str]
"""Key of a count of videos: dataset, method and split."""
ALL_FAKES = "all fakes"
"""The method of a published count over all forgery methods."""
ALL_SPLITS = ""
"""The split of a published count over all splits."""

_HEADER = ("dataset", "method", *SPLITS, "found", "published")


@dataclass(slots=True)
class ScanReport:
    """The videos of a dataset's root, and all problems found; filled in by an adapter.

    Attributes:
        root: absolute local folder, or fsspec URL.
        published: the authors' counts by dataset, method and split; empty if there are none.
        entries: the videos, sorted by `video_id`.
        missing: paths that a pair, a split file or a table names and that do not exist.
        unpaired: paths of fakes whose original does not exist; they are among the entries.
        unsplit: paths of videos left out because the split files name them in no split, or in two.
        crossing: paths of videos left out because they show subjects of another split. Videos of `unsplit` and
            `crossing` that are originals of kept fakes remain among the entries, as references.
        duplicate: paths left out because another file is the same video.
        unreadable: paths of damaged or unsafe archives, whose videos are not among the entries; and of videos that
            could not be read for hashing, which are.
        empty: paths of empty files; like `identical`, known only after hashing.
        identical: paths of videos with the same bytes as another one.
        elsewhere: names of the originals that another dataset may hold, by `video_id` of the unpaired fake.
        unknown: paths of video files that match none of the dataset's naming rules.
        notes: sentences about decisions made during the scan.
    """

    root: str
    published: Mapping[Count, int]
    entries: list[VideoEntry] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unpaired: list[str] = field(default_factory=list)
    unsplit: list[str] = field(default_factory=list)
    crossing: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    identical: list[str] = field(default_factory=list)
    elsewhere: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, listing: Listing, published: Mapping[Count, int]) -> "ScanReport":
        """A report on the videos of a listed root, which has no entries yet."""
        return cls(listing.root, published, unreadable=list(listing.unreadable))

    @property
    def found(self) -> Counter[Count]:
        """Videos by dataset, method and split."""
        return Counter((entry.dataset, entry.method, entry.split) for entry in self.entries)

    def lines(self) -> list[str]:
        """The report as text: a table of counts, then one line per problem, note and overlap between splits."""
        rows = [_HEADER, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(_cells(row, widths)).rstrip() for row in rows]
        return [*table, *self._problems(), *self.notes, *self._across_splits()]

    def examples(self) -> Iterator[str]:
        """A video of each method and split, with its original."""
        paths = {entry.video_id: entry.path for entry in self.entries}
        first: dict[tuple[str, ...], VideoEntry] = {}
        for entry in sorted(self.entries, key=lambda entry: (entry.label, entry.method, entry.split, entry.path)):
            first.setdefault((entry.dataset, entry.method, entry.split), entry)
        for kind, entry in first.items():
            original = f", made from {paths[entry.source_id]}" if entry.source_id else ""
            yield f"{' '.join(kind)}: {entry.path}{original}"

    def _across_splits(self) -> Iterator[str]:
        split_of = {entry.video_id: entry.split for entry in self.entries}
        away = sum(split_of.get(entry.source_id or "", entry.split) != entry.split for entry in self.entries)
        if away:
            yield f"fakes whose original is in another split, or in none, and is only a reference: {away}"
        if shared := shared_subjects(self.entries):
            subjects = {subject for entry in self.entries for subject in entry.subject_ids}
            yield (
                f"SUBJECTS IN TWO SPLITS: {len(shared)} of {len(subjects)} ({shorten(shared)}). Nothing is left out; "
                "--subjects-apart leaves out the videos of train and val that show them."
            )

    def _rows(self) -> list[tuple[str, ...]]:
        found = self.found
        datasets = {entry.dataset for entry in self.entries}
        keys = {key[:2] for key in found if key[2] in SPLITS} | {
            key[:2] for key in self.published if key[0] in datasets
        }
        rows = []
        for dataset, method in sorted(keys, key=lambda key: (key[0], key[1] != "real", key[1])):
            counts = [self._count(found, dataset, method, split) for split in SPLITS]
            published = [self.published.get((dataset, method, split), 0) for split in (ALL_SPLITS, *SPLITS)]
            parts = f" = {' + '.join(map(str, filter(None, published)))}" if sum(map(bool, published)) > 1 else ""
            expected = f"{sum(published)}{parts}" if any(published) else "-"
            rows.append((dataset, method, *map(str, counts), str(sum(counts)), expected))
        return rows

    @staticmethod
    def _count(found: Counter[Count], dataset: str, method: str, split: str) -> int:
        if method != ALL_FAKES:
            return found[dataset, method, split]
        fakes = (count for key, count in found.items() if key[0] == dataset and key[1] != "real" and key[2] == split)
        return sum(fakes)

    def _problems(self) -> list[str]:
        kinds = {
            "missing": self.missing,
            "fakes without their original": self.unpaired,
            "left out, in no split or in two": self.unsplit,
            "left out, with subjects of another split": self.crossing,
            "left out, duplicate videos": self.duplicate,
            "unreadable": self.unreadable,
            "empty files": self.empty,
            "files identical to another": self.identical,
            "unknown video files": self.unknown,
        }
        return [f"{kind}: {len(paths)} ({shorten(paths)})" for kind, paths in kinds.items() if paths]


def _cells(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """Align names and published counts left, numbers right."""
    last = len(row) - 1
    pairs = enumerate(zip(row, widths, strict=True))
    return [cell.ljust(width) if place in (0, 1, last) else cell.rjust(width) for place, (cell, width) in pairs]
