"""Isolation: for a shard that has killed its workers, each clip group is processed in its own process.

The results make up the shard: if no single group is the cause, for example if a worker's memory ran out over many
groups, nothing is lost. If a group kills its process, each of its videos is tried alone; videos that kill their
process are recorded as failures, and the others are processed without them. A group that also kills the worker, for
example because a whole container is killed, is left out after the second time.

Run as `python -m facemill.pipeline.build.isolate`, this module is that process: it reads pickled work from stdin and
writes the pickled result to stdout.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage
from facemill.manifests.remote import RemoteFolder
from facemill.manifests.shards.dataset import state_path
from facemill.manifests.storage import write_atomically
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.extract.result import ClipResult, merged

__all__ = ["deaths_file", "deaths_of", "isolated_results"]

DEADLY = 2
"""Number of workers killed by a group after which it is left out."""


def deaths_file(out: Path, shard_id: str) -> Path:
    """Path of the file that `deaths_of` reads."""
    return out / state_path(shard_id, "deaths")


def deaths_of(out: Path | RemoteFolder, shard_id: str) -> list[str]:
    """A line with the run and the group's id for each time a worker died with a group, and for the current group."""
    if isinstance(out, RemoteFolder):
        return (out.read(state_path(shard_id, "deaths")) or b"").decode().splitlines()
    file = deaths_file(out, shard_id)
    return file.read_text().splitlines() if file.exists() else []


def _save_deaths(out: Path | RemoteFolder, shard_id: str, lines: list[str]) -> None:
    content = "\n".join(lines).encode()
    if isinstance(out, RemoteFolder):
        out.write(state_path(shard_id, "deaths"), content)
    else:
        write_atomically(deaths_file(out, shard_id), content)


def isolated_results(spec: ShardSpec, job: BuildJob, slot: WorkerSlot) -> Iterator[tuple[str, ClipResult]]:
    """As `facemill.pipeline.build.groups.clip_results`, but with processes that may die.

    Raises:
        FacemillError: for faults that no video causes, such as missing weights.
    """
    deaths = deaths_of(job.place, spec.shard_id)
    for group in spec.groups:
        line = f"{job.run} {group.group_id}"
        if deaths.count(line) >= DEADLY:
            failures = [_failure(video.video_id, signal.SIGKILL, "this clip group") for video in group.videos()]
            yield group.group_id, ClipResult([], [], failures)
            continue
        _save_deaths(job.place, spec.shard_id, [*deaths, line])
        result = _result_of(group, spec, job, slot)
        _save_deaths(job.place, spec.shard_id, deaths)
        yield group.group_id, result


def _result_of(group: ClipGroup, spec: ShardSpec, job: BuildJob, slot: WorkerSlot) -> ClipResult:
    done = _process(group, spec, job, slot)
    if not isinstance(done, signal.Signals):
        return done
    videos = list(group.videos())
    alone = [_process(ClipGroup(None, (video,)), spec, job, slot) for video in videos] if len(videos) > 1 else [done]
    deaths = {
        video.video_id: death for video, death in zip(videos, alone, strict=True) if isinstance(death, signal.Signals)
    }
    failures = [_failure(video_id, death, "this video") for video_id, death in deaths.items()]
    rest = ClipGroup(
        None if group.real is None or group.real.video_id in deaths else group.real,
        tuple(fake for fake in group.fakes if fake.video_id not in deaths),
    )
    survivors = [video.video_id for video in rest.videos()] if len(deaths) < len(videos) else []
    # If no video kills its process alone, all of them together are the cause.
    result = _process(rest, spec, job, slot) if survivors and deaths else done
    if isinstance(result, signal.Signals):
        failures += [_failure(video_id, result, "this video and its clip group") for video_id in survivors]
        return ClipResult([], [], failures)
    return replace(result, failures=[*failures, *result.failures])


def _process(group: ClipGroup, spec: ShardSpec, job: BuildJob, slot: WorkerSlot) -> ClipResult | signal.Signals:
    """The group's result from a new process, or the signal that killed that process."""
    work = pickle.dumps((replace(spec, groups=(group,)), job, slot))
    done = subprocess.run([sys.executable, "-m", __name__], input=work, capture_output=True, check=False)
    if done.returncode < 0:
        return signal.Signals(-done.returncode)
    if done.returncode > 0:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    result: ClipResult | Exception = pickle.loads(done.stdout)
    if isinstance(result, Exception):
        raise result
    return result


def _failure(video_id: str, death: signal.Signals, what: str) -> FailureRecord:
    """Describe a death: SIGKILL comes from outside, for example when memory runs out; other signals mean a crash."""
    if death is signal.SIGKILL:
        message = (
            f"The process that reads {what} is killed from outside ({death.name}), as when memory runs out: raise the "
            "memory limit (--memory-limit of dask worker, or that of the container or batch job), or run fewer "
            "workers; the same command tries it again."
        )
        return FailureRecord(video_id, Stage.PROCESS, Reason.WORKER_KILLED, message)
    message = f"The process that reads {what} crashes ({death.name}): replace the file."
    return FailureRecord(video_id, Stage.PROCESS, Reason.WORKER_CRASHED, message)


def _main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # other output must not mix with the answer
    from facemill import FacemillError
    from facemill.pipeline.build.groups import clip_results
    from facemill.pipeline.clips.stopwatch import Stopwatch

    spec, job, slot = pickle.loads(sys.stdin.buffer.read())
    try:
        parts = clip_results(spec, job, slot, Stopwatch())
        answer: object = merged(part for _, part in parts)
    except FacemillError as error:
        answer = error
    with answers:
        pickle.dump(answer, answers)


if __name__ == "__main__":
    _main()
