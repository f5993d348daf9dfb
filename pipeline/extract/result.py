"""What a clip gives. Free of torch, as whoever commits it is."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from facemill.manifests import FailureRecord, FrameFaces, VideoFacts
from facemill.manifests.shards import EncodedSample

__all__ = ["ClipResult", "merged"]


@dataclass(slots=True)
class ClipResult:
    """What a clip gave, in a fixed order: videos as in the clip, frames and tracks ascending."""

    samples: list[EncodedSample]
    faces: list[FrameFaces]
    failures: list[FailureRecord]
    facts: list[VideoFacts] = field(default_factory=list)


def merged(parts: Iterable[ClipResult]) -> ClipResult:
    """Several parts of a group as one."""
    whole = ClipResult([], [], [])
    for part in parts:
        whole.samples += part.samples
        whole.faces += part.faces
        whole.failures += part.failures
        whole.facts += part.facts
    return whole
