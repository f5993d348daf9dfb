"""The results of a clip. Imports no torch, since the code that commits results does not either."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from facemill.manifests import FailureRecord, FrameFaces, VideoFacts
from facemill.manifests.shards import EncodedSample

__all__ = ["ClipResult", "merged"]


@dataclass(slots=True)
class ClipResult:
    """Results of a clip in a fixed order: videos as in the clip, frames and tracks ascending."""

    samples: list[EncodedSample]
    faces: list[FrameFaces]
    failures: list[FailureRecord]
    facts: list[VideoFacts] = field(default_factory=list)


def merged(parts: Iterable[ClipResult]) -> ClipResult:
    """Merge the results of a group's clips."""
    whole = ClipResult([], [], [])
    for part in parts:
        whole.samples += part.samples
        whole.faces += part.faces
        whole.failures += part.failures
        whole.facts += part.facts
    return whole
