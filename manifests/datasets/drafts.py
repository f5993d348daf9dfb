"""From what an adapter reads of each video to the entries of a manifest: quality, duplicates, pairs, splits."""

from collections.abc import Iterable
from dataclasses import dataclass

from facemill.manifests.datasets.base import UNASSIGNED, choose_quality, make_video_id
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.scan_report import ScanReport

__all__ = ["Draft", "enter"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A video as its path, or the dataset's own table, tells it.

    Attributes:
        path: relative to the root.
        method: `real`, or the forgery method.
        name: unique within method and quality; two drafts that agree in all three are one video.
        quality: `native` where the dataset knows no compression levels.
        split: the dataset's own; `UNASSIGNED` where it has none for this video.
        subjects: who is seen, then who was swapped in, as the dataset names them.
        original: of a fake, the `name` of its real video; None where nobody knows.
        original_path: where that one should be.
        mask_path: the official mask video.
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


def enter(report: ScanReport, dataset: str, drafts: Iterable[Draft], quality: str | None, *, official: bool) -> None:
    """Add the drafts of the quality asked for to the report, and say what is unpaired, missing, twice or in no split.

    A fake is paired with the real video of its `original` name in the same quality; one that names none is
    not called unpaired.

    Raises:
        ManifestError: an ambiguous quality, or one that is not there.
    """
    drafts = list(drafts)
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
    for video_id, draft in sorted(unique.items()):
        source_id = None if draft.original is None else reals.get(draft.original)
        if draft.original is not None and source_id is None:
            report.unpaired.append(draft.path)
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
                subject_ids=tuple(f"{dataset}-{subject}" for subject in draft.subjects),
                mask_path=draft.mask_path,
            )
        )
    report.missing = sorted(missing)
