"""Isolation: clip groups of a shard that has killed its workers, each processed in a process of its own.

Of a group that kills its process, each video is tried alone; the videos that kill theirs are recorded, and the
others are processed without them. Run as `python -m facemill.pipeline.build.isolate`, this module is that
process: it takes pickled work on stdin and writes the pickled result to stdout.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage
from facemill.pipeline.build.plan import BuildJob, ShardSpec

if TYPE_CHECKING:
    from facemill.pipeline.extract.process import ClipResult

__all__ = ["isolated_results"]


def isolated_results(spec: ShardSpec, job: BuildJob) -> Iterator[tuple[str, "ClipResult"]]:
    """What `facemill.pipeline.build.shard.clip_results` gives for the shard, by processes that may die.

    Raises:
        FacemillError: for what is no video's fault, such as missing weights.
    """
    for group in spec.groups:
        yield group.group_id, _result_of(group, spec, job)


def _result_of(group: ClipGroup, spec: ShardSpec, job: BuildJob) -> "ClipResult":
    done = _process(group, spec, job)
    if not isinstance(done, signal.Signals):
        return done
    videos = list(group.videos())
    alone = [_process(ClipGroup(None, (video,)), spec, job) for video in videos] if len(videos) > 1 else [done]
    deaths = {
        video.video_id: death for video, death in zip(videos, alone, strict=True) if isinstance(death, signal.Signals)
    }
    failures = [_failure(video_id, death, "this video") for video_id, death in deaths.items()]
    rest = ClipGroup(
        None if group.real is None or group.real.video_id in deaths else group.real,
        tuple(fake for fake in group.fakes if fake.video_id not in deaths),
    )
    survivors = [video.video_id for video in rest.videos()] if len(deaths) < len(videos) else []
    # Where nobody is guilty alone, they are together.
    result = _process(rest, spec, job) if survivors and deaths else done
    if isinstance(result, signal.Signals):
        failures += [_failure(video_id, result, "this video and its clip group") for video_id in survivors]
        return _clip_result(failures)
    return replace(result, failures=[*failures, *result.failures])


def _process(group: ClipGroup, spec: ShardSpec, job: BuildJob) -> "ClipResult | signal.Signals":
    """The group's result from a fresh process, or the signal by which that one died."""
    work = pickle.dumps((replace(spec, groups=(group,)), job))
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
    """SIGKILL comes from outside, as from the system when memory runs out; any other signal from the process itself."""
    if death is signal.SIGKILL:
        message = f"The process that reads {what} is killed from outside ({death.name}): give workers more memory."
        return FailureRecord(video_id, Stage.PROCESS, Reason.WORKER_KILLED, message)
    message = f"The process that reads {what} crashes ({death.name}): replace the file."
    return FailureRecord(video_id, Stage.PROCESS, Reason.WORKER_CRASHED, message)


def _clip_result(failures: list[FailureRecord]) -> "ClipResult":
    from facemill.pipeline.extract.process import ClipResult  # here: it takes torch, which a worker may not need

    return ClipResult([], [], failures)


def _main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else prints must not come between
    from facemill import FacemillError
    from facemill.pipeline.build.plan import Slot
    from facemill.pipeline.build.shard import clip_results, merged
    from facemill.pipeline.clips.stopwatch import Stopwatch

    spec, job = pickle.loads(sys.stdin.buffer.read())
    try:
        parts = clip_results(spec, job, Slot(), Stopwatch())
        answer: object = merged(part for _, part in parts)
    except FacemillError as error:
        answer = error
    with answers:
        pickle.dump(answer, answers)


if __name__ == "__main__":
    _main()
