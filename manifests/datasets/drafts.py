"""Turns an adapter's drafts of videos into manifest entries: quality, duplicates, pairs, splits."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from facemill.manifests.datasets.base import UNASSIGNED, DatasetAdapter, choose_quality, make_video_id
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import Listing, is_video, list_videos
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["Draft", "DraftedDataset", "enter", "matches"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A video as described by its path or the dataset's own table.

    Attributes:
        path: relative to the root.
        method: `real`, or the forgery method.
        name: unique within method and quality; two drafts that agree in all three are one video.
        quality: `native` if the dataset has no compression levels.
        split: the dataset's own; `UNASSIGNED` if it has none for this video.
        subjects: target subject, then source subject, as the dataset names them.
        original: of a fake, the `name` of its real video; None if unknown.
        original_path: expected path of the original.
        mask_path: the ground-truth mask video.
        fake_periods: see `VideoEntry`.
        attributes: see `VideoEntry`.
        content: see `VideoEntry`; `frames` if the path stands for a folder of images.
    """

    path: str
    method: str
    name: str
    quality: str = "native"
    split: str = UNASSIGNED
    subjects: tuple[str, ...] = ()
    original: str | None = None
    original_path: str | None = None
    mask_path: str | None = None
    fake_periods: tuple[tuple[float, float], ...] | None = None
    attributes: tuple[str, ...] = ()
    content: str | None = None


class DraftedDataset(DatasetAdapter):
    """A dataset whose videos are described by their paths, or by tables of its own."""

    @abstractmethod
    def drafts(self, listing: Listing, report: ScanReport, *, official: bool) -> Iterable[Draft]:
        """Drafts of all videos of a root.

        Args:
            listing: of the root, by `list_videos`.
            report: takes what else is found, such as missing files and notes.
            official: whether the drafts' splits are needed.

        Raises:
            ManifestError: a table of videos, or a list of a split, is missing or malformed.
        """

    def known_from(self, subject: str) -> str:
        """The dataset that a subject is named by: people of another one have its names, so that an overlap is found."""
        return self.name

    def is_expected(self, path: str) -> bool:
        """Whether a video file of the root needs no draft, such as a mask, and is not unknown."""
        return False

    def find(self, root: str, quality: str | None, *, official: bool) -> ScanReport:
        listing = list_videos(root)
        report = ScanReport.of(listing, self.published)
        drafts = self.drafts(listing, report, official=official)
        enter(report, self.name, drafts, quality, official=official, listing=listing, known_from=self.known_from)
        report.unknown = [path for path in report.unknown if not self.is_expected(path)]
        return report


def matches(listing: Listing, *patterns: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The whole paths that match one of the patterns, by the first of them."""
    for path in listing.paths:
        if match := next(filter(None, (pattern.fullmatch(path) for pattern in patterns)), None):
            yield match


def enter(
    report: ScanReport,
    dataset: str,
    drafts: Iterable[Draft],
    quality: str | None,
    *,
    official: bool,
    listing: Listing | None = None,
    known_from: Callable[[str], str] | None = None,
) -> None:
    """Add drafts of the requested quality to the report; record unpaired, missing, duplicate and unsplit videos.

    A fake is paired with the real video of its `original` name in the same quality; a fake that names no original
    is not reported as unpaired.

    Args:
        listing: of the root, if drafts are of files: those that are not there are reported as missing and left out, and
            videos without a draft as unknown.
        known_from: see `DraftedDataset`; None if all subjects are this dataset's own.

    Raises:
        ManifestError: an ambiguous quality, or one that does not exist.
    """
    drafts = list(drafts)
    if listing is not None:
        described = {draft.path for draft in drafts}
        report.missing += sorted(described - listing.present)
        report.unknown = [path for path in listing.paths if path not in described and is_video(path)]
        drafts = [_as_listed(draft, listing) for draft in drafts if draft.path in listing.present]
        drafts.sort(key=lambda draft: draft.content is not None)  # of two of one name, the video is kept
        report.unknown = [listing.frames.get(path, path) for path in report.unknown]
    if not drafts:
        return
    chosen = choose_quality((draft.quality for draft in drafts), quality)
    unique: dict[str, Draft] = {}
    for draft in drafts:
        if draft.quality == chosen:
            video_id = make_video_id(dataset, draft.method, chosen, draft.path, draft.name)
            if unique.setdefault(video_id, draft) is not draft:
                report.duplicate.append(draft.path)
    unsplit: set[str] = set()
    if official:
        unsplit = {draft.path for draft in unique.values() if draft.split == UNASSIGNED}
        report.unsplit += sorted(unsplit)
        unique = {video_id: draft for video_id, draft in unique.items() if draft.split != UNASSIGNED}
    reals = {draft.name: video_id for video_id, draft in unique.items() if draft.method == "real"}
    missing = set(report.missing)
    named: dict[tuple[str, ...], tuple[str, ...]] = {}
    drafts.clear()
    for video_id in sorted(unique):
        draft = unique.pop(video_id)  # of a million videos, either the draft or the entry is in memory
        source_id = None if draft.original is None else reals.get(draft.original)
        if draft.original is not None and source_id is None:
            report.unpaired.append(draft.path)
            report.elsewhere[video_id] = draft.original
            if draft.original_path is not None and draft.original_path not in unsplit:
                missing.add(draft.original_path)
        report.entries.append(
            VideoEntry(
                video_id=video_id,
                dataset=dataset,
                method=draft.method,
                label=int(draft.method != "real"),
                quality=chosen,
                split=draft.split if official else UNASSIGNED,
                root=report.root,
                path=draft.path,
                source_id=source_id,
                subject_ids=named.setdefault(
                    draft.subjects,
                    tuple(f"{known_from(subject) if known_from else dataset}-{subject}" for subject in draft.subjects),
                ),
                mask_path=draft.mask_path,
                fake_periods=draft.fake_periods,
                attributes=draft.attributes,
                content=draft.content,
            )
        )
    report.missing = sorted(missing)


def _as_listed(draft: Draft, listing: Listing) -> Draft:
    """The draft with the folders of images that stand for its video, its mask or its original's video."""
    own, original, mask = (
        None if path is None else listing.frames.get(path, path)
        for path in (draft.path, draft.original_path, draft.mask_path)
    )
    content = "frames" if draft.path in listing.frames else draft.content
    return replace(draft, path=own or draft.path, original_path=original, mask_path=mask, content=content)
