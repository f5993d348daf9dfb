"""A worker's threads, and the faults that it lays to no video."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import torch

from facemill.pipeline.build import groups as module
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import load_recipe


@pytest.fixture
def threads_before() -> Iterator[tuple[int, int]]:
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(3)
    torch.set_num_threads(3)
    yield 3, 3
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def test_a_worker_computes_in_one_thread_and_decodes_in_those_of_its_slot(
    threads_before: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Sums depend on the number of threads; and all workers together have the cores of the machine."""
    seen = []

    class Stream:
        watch = Stopwatch()

        def __init__(self, groups: object, recipe: object, threads: int, on_stage: object, device: str) -> None:
            seen.append((cv2.getNumThreads(), torch.get_num_threads(), threads))

        def __enter__(self) -> "Stream":
            return self

        def __exit__(self, *error: object) -> None: ...

        def __iter__(self) -> Iterator[object]:
            return iter(())

    monkeypatch.setattr(module, "Prefetch", Stream)
    encoders = []
    monkeypatch.setattr(module, "ThreadPoolExecutor", lambda count, name: encoders.append(count) or _Pool())
    job = BuildJob(tmp_path, load_recipe("default"), device="cpu")
    assert list(module.clip_results(ShardSpec("s", "train", ()), job, WorkerSlot(0, 5), Stopwatch())) == []
    assert (seen, encoders) == ([(1, 1, 5)], [1])
    assert (cv2.getNumThreads(), torch.get_num_threads()) == threads_before


class _Pool(SimpleNamespace):
    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *error: object) -> None: ...


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (
            LookupError("nothing"),
            "internal_error",
            "facemill itself failed on this clip group (LookupError: nothing): please report it.",
        ),
        (
            MemoryError("no room"),
            "out_of_memory",
            "The system failed on this clip group (MemoryError: no room): the same command tries it again.",
        ),
    ],
)
def test_a_group_that_breaks_is_told_with_what_to_do(error: Exception, reason: str, message: str) -> None:
    videos = [SimpleNamespace(video_id="one"), SimpleNamespace(video_id="two")]
    failures = module._broken(videos, error).failures
    assert [(one.video_id, one.stage, one.reason, one.message) for one in failures] == [
        (name, "process", reason, message) for name in ("one", "two")
    ]
