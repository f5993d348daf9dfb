"""The result of an audit."""

from dataclasses import dataclass, field

from facemill.pipeline.audit.shortcuts import Shortcut

__all__ = ["Audit", "Count", "Duplicate", "Finding"]


@dataclass(frozen=True, slots=True)
class Count:
    """Videos and crops of a method in a split of a dataset; crops and faces (tracks) are the means of a video."""

    dataset: str
    split: str
    method: str
    quality: str
    videos: int
    crops: int
    crops_per_video: float
    faces_per_video: float


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that makes results worthless.

    Attributes:
        kind: `shared`, `duplicate`, `shortcut`, `classes`, or the name of a check of `verify`.
        sure: how certain it is.
        dataset: empty if it is about all datasets together.
    """

    kind: str
    message: str
    sure: str = "certain"
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Nearly equal crops of two videos in different splits, and the two most similar ones.

    Attributes:
        places: dataset, split and video of both.
        samples: `sample_id` of both.
        crops: number of crops of the first video that a crop of the second equals.
        bits: number of different bits of the perceptual hash.
        images: both as PNG, small.
    """

    places: tuple[tuple[str, str, str], tuple[str, str, str]]
    samples: tuple[str, str]
    crops: int
    bits: int
    correlation: float
    images: tuple[bytes, bytes] = field(repr=False)


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        crops: number of crops.
        looked_at: number of those whose pixels were looked at.
        shortcuts: of each dataset.
        duplicates: the most similar ones; findings have the numbers of all.
        notes: what could not be measured.
    """

    datasets: tuple[str, ...]
    crops: int
    looked_at: int
    counts: tuple[Count, ...]
    findings: tuple[Finding, ...]
    shortcuts: dict[str, tuple[Shortcut, ...]]
    duplicates: tuple[Duplicate, ...]
    notes: tuple[str, ...]
