"""Poison isolation: which videos kill the process that reads them.

A shard that killed its worker twice is taken apart: each clip group is tried in a process of its own,
and each video of a group that dies. Run as `python -m facemill.pipeline.build.isolate`, this module is that process:
it takes pickled work on stdin, does it, and throws the result away.
"""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

from facemill.manifests import ClipGroup
from facemill.pipeline.build.plan import BuildJob, ShardSpec, Slot

__all__ = ["find_poison"]


def find_poison(spec: ShardSpec, job: BuildJob) -> frozenset[str]:
    """Ids of the shard's videos that kill a process that does nothing but process them.

    Where a group dies although none of its videos does so alone, all of them are named. Empty where
    the shard's workers died of something else.
    """
    return frozenset(video_id for group in spec.groups for video_id in _poison_of(group, spec, job))


def _poison_of(group: ClipGroup, spec: ShardSpec, job: BuildJob) -> Iterator[str]:
    if _survives(group, spec, job):
        return
    alone = [ClipGroup(None, (video,)) for video in group.videos()]
    if len(alone) == 1:
        yield group.group_id
        return
    deadly = [single.group_id for single in alone if not _survives(single, spec, job)]
    yield from deadly or [video.video_id for video in group.videos()]


def _survives(group: ClipGroup, spec: ShardSpec, job: BuildJob) -> bool:
    """Whether a fresh process gets through the group; an ordinary exception in it is no death."""
    work = pickle.dumps((replace(spec, groups=(group,)), job))
    done = subprocess.run([sys.executable, "-m", __name__], input=work, capture_output=True, check=False)
    return done.returncode >= 0


def _main() -> None:
    # Here, since only this process needs torch.
    from facemill.pipeline.build.shard import clip_results
    from facemill.pipeline.extract.stopwatch import Stopwatch

    spec, job = pickle.loads(sys.stdin.buffer.read())
    for _ in clip_results(spec, job, Slot(), {}, Stopwatch()):
        pass


if __name__ == "__main__":
    _main()
