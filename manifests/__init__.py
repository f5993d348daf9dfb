"""What exists: video manifests, dataset adapters, pairing, splits and the records of a built dataset."""

from manifests.contents import add_contents, find_changed
from manifests.grouping import group_clips
from manifests.listing import locate
from manifests.merge import Merged, merge
from manifests.records import (
    LABELS,
    SPLITS,
    ClipGroup,
    FailureRecord,
    FrameFaces,
    MaskKind,
    Reason,
    SampleRecord,
    Stage,
    VideoEntry,
)
from manifests.scan import from_globs, scan
from manifests.scan_report import ScanReport
from manifests.schemas import FACES, FAILURES, SAMPLES, VIDEOS, from_table, to_table
from manifests.validation import Violation, check, validate
from manifests.videos import read_videos, write_videos

__all__ = [
    "FACES",
    "FAILURES",
    "LABELS",
    "SAMPLES",
    "SPLITS",
    "VIDEOS",
    "ClipGroup",
    "FailureRecord",
    "FrameFaces",
    "MaskKind",
    "Merged",
    "Reason",
    "SampleRecord",
    "ScanReport",
    "Stage",
    "VideoEntry",
    "Violation",
    "add_contents",
    "check",
    "find_changed",
    "from_globs",
    "from_table",
    "group_clips",
    "locate",
    "merge",
    "read_videos",
    "scan",
    "to_table",
    "validate",
    "write_videos",
]
