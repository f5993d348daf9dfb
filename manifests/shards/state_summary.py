"""What the results of a dataset's shards say of the runs that built them: time by stage, and use of devices."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from facemill import DatasetError
from facemill.manifests.shards.dataset import state_results
from facemill.manifests.storage import read_json

__all__ = ["DeviceCount", "read_state"]


@dataclass(frozen=True, slots=True)
class DeviceCount:
    """Use of one device of one host.

    Attributes:
        clips: number of clips processed.
        halvings: how often a batch was halved because the GPU's memory was full.
        on_cpu: number of videos that it should have decoded and the CPU did.
        busy, decoding: shares of time in which it and its decoders were busy; None if it was not sampled.
    """

    host: str
    device: str
    clips: int
    halvings: int
    on_cpu: int
    busy: float | None = None
    decoding: float | None = None


def read_state(root: Path) -> tuple[dict[str, float], tuple[DeviceCount, ...]]:
    """Seconds by stage, longest first, and the use of devices, from the shards' results in the state folder.

    Raises:
        DatasetError: a result cannot be read.
    """
    seconds: Counter[str] = Counter()
    uses: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in state_results(root):
        try:
            result = read_json(path)
            seconds.update({str(stage): float(s) for stage, s in result["timings"].items()})
            for place, use in result.get("devices", {}).items():
                uses[place].update(clips=int(use["clips"]), halvings=int(use["halvings"]))
                uses[place].update(on_cpu=len(use.get("on_cpu", ())), samples=int(use.get("samples", 0)))
                uses[place].update({name: float(use.get(name, 0)) for name in ("busy", "decoding")})
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path} is not a shard's result ({error!r}): run the build again.") from None
    devices = []
    for place, use in sorted(uses.items()):
        shares = [use[name] / use["samples"] if use["samples"] else None for name in ("busy", "decoding")]
        host, _, device = place.rpartition(" ")
        devices.append(DeviceCount(host, device, use["clips"], use["halvings"], use["on_cpu"], *shares))
    return dict(seconds.most_common()), tuple(devices)
