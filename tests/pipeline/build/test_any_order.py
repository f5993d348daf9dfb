"""However workers and builds end, and in whatever order they work, a build comes to the bytes of an undisturbed one."""

import dataclasses
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from facemill import DatasetError
from facemill.manifests import FrameFaces, VideoEntry, VideoFacts
from facemill.manifests.checks.verify import verify
from facemill.manifests.shards.dataset import BUILD_FILE, DATASET_FILE, STATE_FOLDER, STATE_TABLES
from facemill.manifests.storage import TEMPORARY_SUFFIX
from facemill.pipeline.build import job as module
from facemill.pipeline.build.executors import Executor, Outcome
from facemill.pipeline.build.job import build, finish_build
from facemill.pipeline.build.plan import ShardSpec
from facemill.pipeline.config.recipe import Recipe, load_recipe
from facemill.pipeline.extract.result import ClipResult
from tests.integration.command import committed, content
from tests.manifests.small_dataset import make_sample

Result = TypeVar("Result")

FRAMES = (0, 12)
SHARDS = 3
SETTINGS = ("crop.size=64", "sample.frames=2", "shards.samples_per_shard=4")
BUILD = f"{STATE_FOLDER}/{BUILD_FILE}"
OPERATIONS = ("fsync", "replace", "unlink")
WORKER_STEPS, BUILD_STEPS, MERGE_STEPS = 48, 75, 65
"""About as many operations as a shard takes, a build without its shards, and the merge."""


def videos(root: Path) -> list[VideoEntry]:
    """A pair and two single videos for training, and a pair for validation: three shards."""
    common = {"dataset": "stage", "quality": "native", "root": str(root)}
    found = []
    for number, split in enumerate(("train", "train", "train", "val")):
        real = VideoEntry(
            f"real{number}", method="real", label=0, split=split, path=f"{number}.mp4",
            subject_ids=(f"s{number}",), **common,
        )  # fmt: skip
        fake = dataclasses.replace(
            real, video_id=f"fake{number}", method="swap", label=1, path=f"f{number}.mp4", source_id=real.video_id
        )
        found += [real, fake] if number in (0, 3) else [real]
    return found


def clip_results(step: Callable[[], None], spec: ShardSpec, *_: object) -> Iterator[tuple[str, ClipResult]]:
    """Samples that depend on the video and the frame only, as those of a real build do; `step` before each group."""
    for group in spec.groups:
        step()
        samples = [make_sample(video, frame) for video in group.sampled() for frame in FRAMES]
        faces, facts = [], []
        for video in group.sampled():
            facts.append(
                VideoFacts(video.video_id, 320, 240, 25, 25.0, False, "h264", 0, 1.0, False, 2, 0, (), None, None)
            )
            for sample in (sample.record for sample in samples if sample.record.video_id == video.video_id):
                seen = (sample.bbox,), (sample.landmarks,), (sample.score,)
                faces.append(FrameFaces("0" * 16, video.video_id, sample.frame_index, *seen))
        yield group.group_id, ClipResult(samples, faces, [], facts)


class Ended(BaseException):
    """A process has ended: no handler of its code runs, as far as files can show."""


class Processes:
    """Processes that end before a file operation; they run in this one, each inside the one that has started it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left: list[float] = []
        for name in OPERATIONS:
            monkeypatch.setattr(os, name, partial(self._operate, getattr(os, name)))
        monkeypatch.setattr(io, "open", partial(self._open, io.open))
        monkeypatch.setattr(pq, "write_table", partial(self._write_table, pq.write_table))

    def run(self, function: Callable[[], Result], last: int | None) -> Result | None:
        """The function's result; None if its process has ended before file operation `last`."""
        self._left.append(math.inf if last is None else last)
        try:
            return function()
        except Ended:
            return None
        finally:
            self._left.pop()

    def step(self) -> None:
        """An operation of the innermost process.

        Raises:
            Ended: it has ended before; also at whatever its handlers then try to do to files.
        """
        if self._left:
            self._left[-1] -= 1
            if self._left[-1] < 0:
                raise Ended

    def _operate(self, operation: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        self.step()
        return operation(*arguments, **options)

    def _open(self, operation: Callable[..., Any], file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not set(mode) & set("wax"):
            return operation(file, mode, *rest, **options)
        opened = self._operate(operation, file, mode, *rest, **options)
        try:
            self.step()
        except Ended:  # with nothing written
            opened.close()
            raise
        return opened

    def _write_table(self, operation: Callable[..., None], table: pa.Table, path: Path) -> None:
        path.open("wb").close()
        operation(table, path)


class Workers(Executor):
    """Each shard is built by a process, in any order; a shard whose process ends is given to another one later.

    Args:
        processes: of the build and its workers.
        seen: called when a process has ended early.
        order: which of the remaining shards comes next.
        ends: of each process: the operation before which it ends.
    """

    def __init__(
        self,
        processes: Processes,
        seen: Callable[[], None],
        order: list[int],
        ends: list[int | None],
        **options: Any,
    ) -> None:
        super().__init__()
        self.processes, self.seen = processes, seen
        self.order, self.ends = iter(order), iter(ends)

    def run(
        self,
        function: Callable[..., Any],
        tasks: Iterable[Any],
        on_message: Callable[[Any], None] = lambda message: None,
    ) -> Iterator[Outcome[Any, Any]]:
        left = [*tasks]
        while left:
            self.processes.step()
            task = left.pop(next(self.order, 0) % len(left))
            result = self.processes.run(partial(function, task, 0, 1), next(self.ends, None))
            if result is None:
                self.seen()
                left.append(task)
            else:
                yield Outcome(task, result)


class Builds(RuleBasedStateMachine):
    """Runs of one build."""

    def __init__(self, processes: Processes, whole: Path, out: Path, entries: list[VideoEntry], recipe: Recipe) -> None:
        super().__init__()
        self.processes = processes
        self.whole, self.out, self.entries, self.recipe = whole, out, entries, recipe
        self.damaged = False

    def run_build(
        self,
        order: list[int],
        ends: list[int | None],
        last: int | None = None,
        part: tuple[int, int] | None = None,
    ) -> Any:
        module.EXECUTORS = {"workers": partial(Workers, self.processes, self.check, order, ends)}
        act = partial(build, self.entries, self.recipe, self.out, executor="workers", device="cpu", part=part)
        return self.processes.run(act, last)

    @rule(
        order=st.lists(st.integers(0, SHARDS - 1), max_size=5),
        ends=st.lists(st.none() | st.integers(0, WORKER_STEPS), max_size=5),
        last=st.none() | st.integers(0, BUILD_STEPS),
        part=st.sampled_from([None, None, None, (1, 2), (2, 2), (4, 4)]),
    )
    def work(self, order: list[int], ends: list[int | None], last: int | None, part: tuple[int, int] | None) -> None:
        report = self.run_build(order, ends, last, part)
        if report is not None and part is None:
            self.damaged = False
            assert (self.out / DATASET_FILE).exists()

    @rule(last=st.none() | st.integers(0, BUILD_STEPS))
    def finish(self, last: int | None) -> None:
        def act() -> bool:
            try:
                finish_build(self.entries, self.recipe, self.out)
            except DatasetError:
                return False
            return True

        all_built = len(committed(self.out)) == SHARDS
        if self.processes.run(act, last):
            assert all_built
            self.damaged = False

    @rule(number=st.integers(0, 99), cut=st.booleans())
    def lose(self, number: int, cut: bool) -> None:
        """A committed file is cut off or missing."""
        folders = self.out / "train", self.out / "val", self.out / STATE_TABLES
        files = sorted(committed(self.out)) + sorted(path for folder in folders for path in folder.glob("[!.]*"))
        if files:
            path = files[number % len(files)]
            path.write_bytes(path.read_bytes()[:-1]) if cut else path.unlink()
            self.damaged = True

    @invariant()
    def check(self) -> None:
        """What is committed is whole, files are complete, and so is a dataset that is marked as such."""
        if self.damaged:
            return
        self.what_is_committed_is_whole()
        self.files_are_complete()

    def what_is_committed_is_whole(self) -> None:
        for path in committed(self.out):
            result = stated(path)
            assert result == stated(self.whole / path.relative_to(self.out))
            for name in ("shard", "samples", "faces", "facts"):
                file = self.out / result[name]["path"]
                assert file.read_bytes() == (self.whole / result[name]["path"]).read_bytes()

    def files_are_complete(self) -> None:
        found, whole = lasting(self.out), lasting(self.whole)
        if (self.out / DATASET_FILE).exists():
            assert found == whole
        found.pop(BUILD, None)  # to which the workers' device is added
        assert found.items() <= whole.items()

    def teardown(self) -> None:
        """A run to the end comes to the same, and leaves nothing else behind."""
        assert self.run_build([], []) is not None
        assert content(self.out) == content(self.whole)
        self.what_is_committed_is_whole()
        shutil.rmtree(self.out)


def stated(result: Path) -> dict[str, Any]:
    """A shard's result without what depends on the time."""
    return {name: value for name, value in json.loads(result.read_bytes()).items() if name != "timings"}


def lasting(dataset: Path) -> dict[str, str]:
    """`content` without what processes that have ended left unfinished."""
    found = content(dataset)
    return {
        name: digest
        for name, digest in found.items()
        if not name.endswith(TEMPORARY_SUFFIX) and not name.startswith(("_state/run-", "_state/.gone-", "_state/.new-"))
    }


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Builds]:
    """Makes runs of a build, beside one without disturbances."""
    processes = Processes(monkeypatch)
    monkeypatch.setattr("facemill.pipeline.build.groups.clip_results", partial(clip_results, processes.step))
    monkeypatch.setattr(module, "EXECUTORS", module.EXECUTORS)
    entries, recipe = videos(tmp_path), load_recipe("default", SETTINGS)
    report = build(entries, recipe, tmp_path / "whole", executor="sequential", device="cpu")
    assert (report.shards, report.samples) == (SHARDS, 12)
    assert verify(tmp_path / "whole").ok
    return partial(Builds, processes, tmp_path / "whole", tmp_path / "out", entries, recipe)


@pytest.mark.heavy
def test_a_worker_may_end_before_any_operation(builds: Callable[[], Builds]) -> None:
    for last in range(WORKER_STEPS):
        runs = builds()
        assert runs.run_build([], [last]) is not None  # each time that a worker has ended, the files are looked at
        assert content(runs.out) == content(runs.whole)
        shutil.rmtree(runs.out)


@pytest.mark.heavy
def test_a_build_may_end_before_any_operation_of_the_merge(builds: Callable[[], Builds], tmp_path: Path) -> None:
    runs = builds()
    runs.run_build([], [], part=(1, 1))
    runs.out.rename(tmp_path / "built")
    for last in range(MERGE_STEPS):
        shutil.copytree(tmp_path / "built", runs.out)
        runs.finish(last)
        runs.check()
        runs.finish(None)
        assert content(runs.out) == content(runs.whole)
        shutil.rmtree(runs.out)


@pytest.mark.heavy
def test_any_order_of_workers_deaths_and_resumes_gives_the_same_bytes(builds: Callable[[], Builds]) -> None:
    run_state_machine_as_test(builds, settings=settings(max_examples=15, stateful_step_count=6, deadline=None))
