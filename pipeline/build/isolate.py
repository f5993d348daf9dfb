"""Isolation: for a shard that has killed its workers, each clip group is processed in its own process.

The results make up the shard: if no single group is the cause, for example if a worker's memory ran out over many
groups, nothing is lost. If a group kills its process, each of its videos is tried alone; videos that kill their
process are recorded as failures, and the others are processed without them. A group that also kills the worker, for
example because a whole container is killed, is left out after the second time. A process that makes no progress, for
example in a decoder that never returns, is killed.

Run as `python -m facemill.pipeline.build.isolate`, this module is that process: it reads pickled work from stdin and
writes the pickled result to stdout.
"""

import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage
from facemill.manifests.remote import RemoteFolder
from facemill.manifests.shards.dataset import state_path
from facemill.manifests.storage import write_atomically
from facemill.pipeline.build.patience import RunningClock
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.extract.result import ClipResult, merged

__all__ = ["deaths_file", "deaths_of", "isolated_results"]

DEADLY = 2  # number of workers killed by a group after which it is left out
POLL_S, KILL_S = 1.0, 10.0
STALL_SHARE = 0.5  # a process is killed after this share of the time after which its worker would be
STALLED = signal.SIGALRM  # stands for the death of a process that made no progress


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


def isolated_results(
    spec: ShardSpec, job: BuildJob, slot: WorkerSlot, on_stage: Callable[[str], None] = lambda stage: None
) -> Iterator[tuple[str, ClipResult]]:
    """As `facemill.pipeline.build.groups.clip_results`, but with processes that may die.

    Args:
        on_stage: called regularly while a process makes progress, and whenever one has ended.

    Raises:
        FacemillError: for faults that no video causes, such as missing weights.
    """
    deaths = deaths_of(job.place, spec.shard_id)
    for group in spec.groups:
        line = f"{job.run} {group.group_id}"
        if deaths.count(line) >= DEADLY:
            failures = [_failure(video.video_id, signal.SIGKILL, "this clip group", job) for video in group.videos()]
            yield group.group_id, ClipResult([], [], failures)
            continue
        _save_deaths(job.place, spec.shard_id, [*deaths, line])
        result = _result_of(group, lambda part: _process(part, spec, job, slot, on_stage), job)
        _save_deaths(job.place, spec.shard_id, deaths)
        yield group.group_id, result


def _result_of(
    group: ClipGroup, process: Callable[[ClipGroup], ClipResult | signal.Signals], job: BuildJob
) -> ClipResult:
    done = process(group)
    if not isinstance(done, signal.Signals):
        return done
    videos = list(group.videos())
    alone = [process(ClipGroup(None, (video,))) for video in videos] if len(videos) > 1 else [done]
    deaths = {
        video.video_id: death for video, death in zip(videos, alone, strict=True) if isinstance(death, signal.Signals)
    }
    failures = [_failure(video_id, death, "this video", job) for video_id, death in deaths.items()]
    rest = ClipGroup(
        None if group.real is None or group.real.video_id in deaths else group.real,
        tuple(fake for fake in group.fakes if fake.video_id not in deaths),
    )
    survivors = [video.video_id for video in rest.videos()] if len(deaths) < len(videos) else []
    # If no video kills its process alone, all of them together are the cause.
    result = process(rest) if survivors and deaths else done
    if isinstance(result, signal.Signals):
        failures += [_failure(video_id, result, "this video and its clip group", job) for video_id in survivors]
        return ClipResult([], [], failures)
    return replace(result, failures=[*failures, *result.failures])


def _process(
    group: ClipGroup, spec: ShardSpec, job: BuildJob, slot: WorkerSlot, on_stage: Callable[[str], None]
) -> ClipResult | signal.Signals:
    """The group's result from a new process, or the signal that killed that process.

    A crash below a limit of the address space counts as SIGKILL: C libraries crash when they get no memory.
    """
    with tempfile.TemporaryFile() as steps:  # it grows by a byte with every step of that process
        work = pickle.dumps((replace(spec, groups=(group,)), job, slot, steps.fileno()))
        code, answer, said = _watched([sys.executable, "-m", __name__], work, steps.fileno(), job.stall_s, on_stage)
    on_stage("isolated")
    if code < 0:
        limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY or b"bad_alloc" in said
        return signal.SIGKILL if limited and -code != STALLED else signal.Signals(-code)
    if code > 0:
        raise RuntimeError(said.decode(errors="replace").strip().rpartition("\n")[2])
    result: ClipResult | Exception = pickle.loads(answer)
    if isinstance(result, Exception):
        raise result
    return result


def _watched(
    command: list[str], work: bytes, steps: int, stall_s: float, on_stage: Callable[[str], None]
) -> tuple[int, bytes, bytes]:
    """Exit code and outputs of a process, which is killed if it makes no step for too long."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(steps,)
    )
    clock, made, since = RunningClock(POLL_S), 0, 0.0
    rest: bytes | None = work
    try:
        while True:
            try:
                answer, said = process.communicate(rest, timeout=POLL_S)
                return process.returncode, answer, said
            except subprocess.TimeoutExpired:
                rest, now = None, clock.now()
            if (size := os.fstat(steps).st_size) != made:
                made, since = size, now
                on_stage("isolated")
            elif now - since >= STALL_SHARE * stall_s:
                return -STALLED, b"", b""
    finally:
        process.kill()  # without effect on one that has ended
        with suppress(subprocess.TimeoutExpired):  # a disk that stalls may hold even a killed process
            process.communicate(timeout=KILL_S)


def _failure(video_id: str, death: signal.Signals, what: str, job: BuildJob) -> FailureRecord:
    """Describe a death: SIGKILL comes from outside, for example when memory runs out; other signals mean a crash."""
    if death is STALLED:
        message = (
            f"The process that reads {what} has made no progress for {STALL_SHARE * job.stall_s:g} s and is killed: "
            "check the disk, or replace the file; the same command tries it again."
        )
        return FailureRecord(video_id, Stage.PROCESS, Reason.WORKER_KILLED, message)
    if death is signal.SIGKILL:
        message = (
            f"The process that reads {what} is killed from outside ({death.name}), or crashes, as when memory runs "
            "out: raise the memory limit (ulimit -v, --memory-limit of dask worker, or that of the container or batch "
            "job), or run fewer workers; the same command tries it again."
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

    spec, job, slot, steps = pickle.loads(sys.stdin.buffer.read())

    def step(stage: str) -> None:
        os.write(steps, b".")

    try:
        parts = clip_results(spec, job, slot, Stopwatch(step))
        answer: object = merged(part for _, part in parts)
    except FacemillError as error:
        answer = error
    with answers:
        pickle.dump(answer, answers)


if __name__ == "__main__":
    _main()
