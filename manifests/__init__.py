"""Video manifests, dataset adapters, pairing, splits, and the records of a built dataset."""

from facemill.manifests.codes import LabelSource, MaskKind, Reason, Stage
from facemill.manifests.grouping import group_clips
from facemill.manifests.records import (
    LABELS,
    REFERENCE,
    SPLITS,
    ClipGroup,
    FailureRecord,
    FrameFaces,
    SampleRecord,
    VideoEntry,
    VideoFacts,
)
from facemill.manifests.roots import check_roots
from facemill.manifests.scanning.contents import add_contents, find_changed
from facemill.manifests.scanning.listing import locate
from facemill.manifests.scanning.merge import Merged, merge
from facemill.manifests.scanning.scan import from_globs, scan
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.schemas import FACES, FACTS, FAILURES, SAMPLES, VIDEOS, from_table, to_table
from facemill.manifests.validation import Violation, check, shared_subjects, validate
from facemill.manifests.videos import is_manifest, read_videos, write_videos

__all__ = [
    "FACES",
    "FACTS",
    "FAILURES",
    "LABELS",
    "REFERENCE",
    "SAMPLES",
    "SPLITS",
    "VIDEOS",
    "ClipGroup",
    "FailureRecord",
    "FrameFaces",
    "LabelSource",
    "MaskKind",
    "Merged",
    "Reason",
    "SampleRecord",
    "ScanReport",
    "Stage",
    "VideoEntry",
    "VideoFacts",
    "Violation",
    "add_contents",
    "check",
    "check_roots",
    "find_changed",
    "from_globs",
    "from_table",
    "group_clips",
    "is_manifest",
    "locate",
    "merge",
    "read_videos",
    "scan",
    "shared_subjects",
    "to_table",
    "validate",
    "write_videos",
]
