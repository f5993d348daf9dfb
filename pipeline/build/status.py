"""The state of a build, read from the dataset's state folder alone: neither driver nor scheduler need answer."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facemill import DatasetError
from facemill.manifests.copies import copies_folder
from facemill.manifests.printable import printable
from facemill.manifests.remote import RemoteFolder
from facemill.manifests.shards.dataset import DATASET_FILE, STATE_FOLDER, state_results
from facemill.manifests.storage import parse_json, read_json
from facemill.pipeline.build.beats import FILE, read_beats
from facemill.pipeline.build.output import BEAT, RUNS, place_of
from facemill.pipeline.build.run_folder import BEAT_FILE, HOLDER_FILE, LEASE_S, Holder, run_folder
from facemill.pipeline.build.state import PLAN_FILE

__all__ = ["InHand", "RunState", "Status", "exposition", "read_status"]


@dataclass(frozen=True, slots=True)
class RunState:
    """A run of the build.

    Attributes:
        silent_s: seconds since its last sign of life, by this machine's clock.
    """

    host: str
    pid: int
    silent_s: float

    @property
    def alive(self) -> bool:
        """Whether there was a sign of life lately."""
        return self.silent_s < LEASE_S


@dataclass(frozen=True, slots=True)
class InHand:
    """A shard that a worker has in hand.

    Attributes:
        stage, group: the last step that was begun, and the clip group.
        seconds: since the worker began the shard.
        still_s: since that step was begun: without progress for so long.
        silent_s: since the worker last said all of this.
    """

    shard: str
    host: str
    pid: int
    stage: str
    group: str
    groups_done: int
    groups: int
    videos: int
    samples: int
    failures: int
    seconds: float
    still_s: float
    silent_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """A build.

    Attributes:
        finished: the dataset is complete, and no run is under way.
        shards, videos: of the whole; None where no run has planned it yet.
        failures: by reason, of the shards that are done.
        videos_per_s: of the runs under way; None if none is, or nothing is done yet.
        seconds_left: at that rate.
        in_hand: longest without progress first.
    """

    finished: bool
    runs: tuple[RunState, ...]
    shards_done: int
    shards: int | None
    videos_done: int
    videos: int | None
    samples: int
    failures: dict[str, int]
    videos_per_s: float | None
    seconds_left: float | None
    in_hand: tuple[InHand, ...]


def read_status(out: str | Path) -> Status:
    """Read the state of a build in a folder or behind a URL: there, what is in hand and the rate are not known.

    Raises:
        DatasetError: there is none, or the server cannot be reached.
    """
    place = place_of(out)
    if isinstance(place, Path):
        return _read(place, str(out))
    with copies_folder() as copies:
        return _read(_copied(place, copies), str(out))


def _copied(place: RemoteFolder, folder: Path) -> Path:
    """What is told of a build behind a URL, as a build in a folder leaves it; objects count as old ones."""
    names = [f"{STATE_FOLDER}/{name}" for name in RemoteFolder(f"{place}/{STATE_FOLDER}").names(below=True)]
    place.fetch((name for name in names if name.endswith(".json")), folder)
    for path in folder.rglob("*.json"):
        os.utime(path, (0, 0))
    if place.size(DATASET_FILE) is not None:
        (folder / DATASET_FILE).touch()
    for run in (name for name in names if name.startswith(f"{RUNS}/") and not name.endswith(BEAT)):
        told, beat = {}, place.read(run + BEAT)
        with suppress(ValueError):  # damaged
            told = parse_json(place.read(run) or b"{}")
        made = run_folder(folder, Path(run).name)
        made.mkdir(parents=True)
        holder = {name: told[name] for name in ("host", "pid") if name in told}
        (made / HOLDER_FILE).write_text(json.dumps(holder))
        (made / BEAT_FILE).touch()
        with suppress(TypeError, ValueError):
            os.utime(made / BEAT_FILE, (float(beat or told.get("at", 0)),) * 2)
    return folder


def _read(out: Path, told: str) -> Status:
    state = out / STATE_FOLDER
    if not state.is_dir():
        raise DatasetError(f"There is no {told}/{STATE_FOLDER}: give the --out of a build.")
    plan: dict[str, int] = {}
    with suppress(OSError, ValueError, TypeError):
        plan = {name: int(value) for name, value in read_json(state / PLAN_FILE).items()}
    folders = [folder for folder in state.glob("run-*") if _time_of(folder / BEAT_FILE) is not None]
    runs = tuple(_run(folder) for folder in folders)
    alive = [folder for folder, run in zip(folders, runs, strict=True) if run.alive]
    began = min((_time_of(folder / HOLDER_FILE) or 0.0 for folder in alive), default=None)
    in_hand = tuple(sorted((each for folder in alive for each in _in_hand(folder)), key=lambda one: -one.still_s))
    done = made = samples = shards = 0
    failures: Counter[str] = Counter()
    for path in state_results(out):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # replaced just now, or damaged
            result = read_json(path)
            videos, new = int(result["videos"]), began is not None and (_time_of(path) or 0.0) >= began
            samples += int((result["shard"] or {"rows": 0})["rows"])
            failures.update(str(failure["reason"]) for failure in result["failures"])
            shards, done, made = shards + 1, done + videos, made + videos * new
    videos_in_hand = sum(one.videos for one in in_hand)
    rate = None
    if began is not None and made + videos_in_hand:
        rate = (made + videos_in_hand) / max(time.time() - began, 1.0)
    left = plan.get("videos", 0) - done - videos_in_hand
    return Status(
        finished=not alive and (out / DATASET_FILE).is_file(),
        runs=runs,
        shards_done=shards,
        shards=plan.get("shards"),
        videos_done=done + videos_in_hand,
        videos=plan.get("videos"),
        samples=samples + sum(one.samples for one in in_hand),
        failures=dict(failures.most_common()),
        videos_per_s=rate,
        seconds_left=max(0, left) / rate if rate and plan else None,
        in_hand=in_hand,
    )


def exposition(status: Status) -> str:
    """A status in Prometheus's text format."""

    def lines() -> Iterator[str]:
        plain = {
            "videos": status.videos,
            "videos_done": status.videos_done,
            "shards": status.shards,
            "shards_done": status.shards_done,
            "samples": status.samples,
            "videos_per_second": status.videos_per_s,
            "seconds_left": status.seconds_left,
            "shards_in_hand": len(status.in_hand),
            "runs": sum(run.alive for run in status.runs),
        }
        for name, value in plain.items():
            if value is not None:
                yield from (f"# TYPE facemill_build_{name} gauge", f"facemill_build_{name} {value:g}")
        if status.failures:
            yield "# TYPE facemill_build_failures gauge"
        for reason, count in status.failures.items():
            yield f'facemill_build_failures{{reason="{_label(reason)}"}} {count}'
        for name in ("seconds", "still_s"):
            if status.in_hand:
                yield f"# TYPE facemill_shard_{name} gauge"
            for one in status.in_hand:
                labels = {"shard": one.shard, "host": one.host, "stage": one.stage}
                told = ",".join(f'{label}="{_label(text)}"' for label, text in labels.items())
                yield f"facemill_shard_{name}{{{told}}} {getattr(one, name):.1f}"

    return "\n".join(lines()) + "\n"


def _label(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')


def _time_of(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _run(folder: Path) -> RunState:
    holder = Holder.of(folder)
    return RunState(holder.host, holder.pid, max(0.0, time.time() - (_time_of(folder / BEAT_FILE) or 0.0)))


def _in_hand(run: Path) -> Iterator[InHand]:
    for folder, told in read_beats(run).items():
        told = {name: value for name, value in told.items() if name != "step"}
        silent_s = max(0.0, time.time() - (_time_of(folder / FILE) or 0.0))
        with suppress(TypeError):  # of another version
            yield InHand(shard=folder.parent.name, silent_s=silent_s, **told)
