"""The results of a clip. Imports no torch, since the code that commits results does not either."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from facemill.manifests import FailureRecord, FrameFaces, VideoFacts
from facemill.manifests.shards import EncodedSample

__all__ = ["ClipResult", "DeviceUse", "add_uses", "merged"]


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """What a device was used for.

    Attributes:
        clips: number of clips processed.
        halvings: how often a batch was halved because the GPU's memory was full.
        on_cpu: by video that it should have decoded, why the CPU did.
        samples, busy, decoding: of a GPU, as in `GpuLoad`.
    """

    clips: int = 0
    halvings: int = 0
    on_cpu: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0
    busy: float = 0.0
    decoding: float = 0.0

    def __add__(self, other: "DeviceUse") -> "DeviceUse":
        return DeviceUse(
            self.clips + other.clips,
            self.halvings + other.halvings,
            {**self.on_cpu, **other.on_cpu},
            self.samples + other.samples,
            self.busy + other.busy,
            self.decoding + other.decoding,
        )


def add_uses(*parts: Mapping[str, DeviceUse]) -> dict[str, DeviceUse]:
    whole: dict[str, DeviceUse] = {}
    for part in parts:
        for place, use in part.items():
            whole[place] = whole.get(place, DeviceUse()) + use
    return whole


@dataclass(slots=True)
class ClipResult:
    """Results of a clip in a fixed order: videos as in the clip, frames and tracks ascending.

    Attributes:
        devices: use by host and torch device, such as `node1 cuda:3`.
    """

    samples: list[EncodedSample]
    faces: list[FrameFaces]
    failures: list[FailureRecord]
    facts: list[VideoFacts] = field(default_factory=list)
    devices: dict[str, DeviceUse] = field(default_factory=dict)


def merged(parts: Iterable[ClipResult]) -> ClipResult:
    """Merge the results of a group's clips."""
    whole = ClipResult([], [], [])
    for part in parts:
        whole.samples += part.samples
        whole.faces += part.faces
        whole.failures += part.failures
        whole.facts += part.facts
        whole.devices = add_uses(whole.devices, part.devices)
    return whole
