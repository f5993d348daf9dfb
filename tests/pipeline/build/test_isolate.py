import pickle
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from facemill import DetectorError
from facemill.manifests import ClipGroup, FrameFaces, Reason, VideoEntry
from facemill.manifests.remote import RemoteFolder
from facemill.pipeline.build import isolate
from facemill.pipeline.build.isolate import isolated_results
from facemill.pipeline.build.plan import BuildJob, ShardSpec, WorkerSlot
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.extract.result import ClipResult


def video(name: str, label: int = 0) -> VideoEntry:
    return VideoEntry(
        video_id=name,
        dataset="stage",
        method="swap" if label else "real",
        label=label,
        quality="native",
        split="train",
        root="/nowhere",
        path=f"{name}.mp4",
        source_id="real" if label else None,
    )


GROUPS = (
    ClipGroup(video("real"), (video("fake1", 1), video("fake2", 1))),
    ClipGroup(video("healthy")),
    ClipGroup(None, (video("alone", 1),)),
)


SLOT = WorkerSlot(5)

Deaths = dict[frozenset[str], signal.Signals]


def isolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deadly: Deaths
) -> tuple[dict[str, Reason], list[str], list[str]]:
    """What is recorded where processes die that get one of `deadly` sets of videos; what is sampled; what was tried."""
    tried = []

    def watched(command: list[str], work: bytes, *rest: object) -> tuple[int, bytes, bytes]:
        spec, _, slot, _ = pickle.loads(work)
        (group,) = spec.groups
        assert slot == SLOT  # the process has the GPU of its worker
        videos = [video.video_id for video in group.videos()]
        tried.append("+".join(videos))
        for some, death in deadly.items():
            if some <= set(videos):
                return -death, b"", b""
        faces = [FrameFaces("key", video_id, 0, (), (), ()) for video_id in videos]
        return 0, pickle.dumps(ClipResult([], faces, [])), b""

    monkeypatch.setattr(isolate, "_watched", watched)
    job = BuildJob(tmp_path, load_recipe("default"))
    results = [result for _, result in isolated_results(ShardSpec("train-000000", "train", GROUPS), job, SLOT)]
    failures = {failure.video_id: failure.reason for result in results for failure in result.failures}
    return failures, [frame.video_id for result in results for frame in result.faces], tried


def test_of_a_deadly_group_the_deadly_video_is_left_out_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, kept, tried = isolated(tmp_path, monkeypatch, {frozenset({"fake1"}): signal.SIGSEGV})
    assert failures == {"fake1": Reason.WORKER_CRASHED}
    assert kept == ["real", "fake2", "healthy", "alone"]
    assert tried == ["real+fake1+fake2", "real", "fake1", "fake2", "real+fake2", "healthy", "alone"]


def test_videos_that_kill_only_together_are_recorded_and_their_shard_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where memory runs out: no file's fault, so that all are tried again."""
    failures, kept, _ = isolated(tmp_path, monkeypatch, {frozenset({"real", "fake2"}): signal.SIGKILL})
    assert failures == dict.fromkeys(("real", "fake1", "fake2"), Reason.WORKER_KILLED)
    assert all(reason.retryable for reason in failures.values())
    assert kept == ["healthy", "alone"]


def test_a_lone_video_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, kept, tried = isolated(tmp_path, monkeypatch, {frozenset({"alone"}): signal.SIGABRT})
    assert failures == {"alone": Reason.WORKER_CRASHED}
    assert tried.count("alone") == 1
    assert "alone" not in kept


def test_a_crash_below_a_limit_of_memory_is_no_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C libraries crash where they get no memory: with more of it, the same command has to try again."""
    monkeypatch.setattr(isolate.resource, "getrlimit", lambda what: (6 << 30, 8 << 30))
    failures, _, _ = isolated(tmp_path, monkeypatch, {frozenset({"alone"}): signal.SIGSEGV})
    assert failures == {"alone": Reason.WORKER_KILLED}


@pytest.mark.heavy
def test_the_real_process_gives_the_failures_of_files_that_are_not_there(tmp_path: Path) -> None:
    spec = ShardSpec("train-000000", "train", GROUPS[1:2])
    ((group_id, result),) = isolated_results(spec, BuildJob(tmp_path, load_recipe("default"), device="cpu"), SLOT)
    assert group_id == "healthy"
    assert [failure.reason for failure in result.failures] == [Reason.MISSING_FILE]


def test_what_is_no_videos_fault_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = pickle.dumps(DetectorError("There are no weights."))
    monkeypatch.setattr(isolate, "_watched", lambda *given: (0, answer, b""))
    with pytest.raises(DetectorError, match="no weights"):
        list(
            isolated_results(
                ShardSpec("train-000000", "train", GROUPS), BuildJob(tmp_path, load_recipe("default")), SLOT
            )
        )


@pytest.mark.parametrize("store", [None, RemoteFolder("memory://deaths")])
def test_a_group_that_takes_its_worker_with_it_twice_is_left_out_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: RemoteFolder | None
) -> None:
    """As a container's memory limit kills: all of its processes. Nothing else of the shard is lost."""
    job = BuildJob(tmp_path, load_recipe("default"), run="this", store=store)
    spec = ShardSpec("train-000000", "train", GROUPS)
    file = isolate.deaths_file(tmp_path, spec.shard_id)
    file.parent.mkdir(parents=True)
    file.write_text("earlier real\nearlier real\nthis healthy")  # another run's, and one death too few
    if store is not None:  # the worker's folder is lost with it
        store.publish([file.relative_to(tmp_path).as_posix()], tmp_path)
        file.unlink()

    class WorkerDies(BaseException):
        pass

    def watched(command: list[str], work: bytes, *rest: object) -> tuple[int, bytes, bytes]:
        (group,) = pickle.loads(work)[0].groups
        if group.real == GROUPS[0].real:
            raise WorkerDies
        return 0, pickle.dumps(ClipResult([], [], [])), b""

    monkeypatch.setattr(isolate, "_watched", watched)
    for deaths in (1, 2):
        with pytest.raises(WorkerDies):
            list(isolated_results(spec, job, SLOT))
        assert isolate.deaths_of(job.place, spec.shard_id).count(f"this {GROUPS[0].group_id}") == deaths
    results = dict(isolated_results(spec, job, SLOT))
    blamed = {f.video_id: f for result in results.values() for f in result.failures}
    assert set(blamed) == {"real", "fake1", "fake2"}
    assert all(f.reason.retryable and "--memory-limit" in f.message for f in blamed.values())


def test_a_video_whose_process_makes_no_progress_is_left_out_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, kept, _ = isolated(tmp_path, monkeypatch, {frozenset({"fake1"}): isolate.STALLED})
    assert failures == {"fake1": Reason.WORKER_KILLED}
    assert kept == ["real", "fake2", "healthy", "alone"]


STEPS = "import os, sys, time; [(os.write(int(sys.argv[1]), b'.'), time.sleep(0.1)) for _ in range(int(sys.argv[2]))]"


@pytest.mark.heavy
@pytest.mark.parametrize(("steps", "rest", "code"), [(50, "", 0), (1, "; time.sleep(60)", -isolate.STALLED)])
def test_a_process_may_take_any_time_if_it_makes_steps(
    steps: int, rest: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolate, "POLL_S", 0.05)
    heard: list[str] = []
    with tempfile.TemporaryFile() as file:
        command = [sys.executable, "-c", STEPS + rest, str(file.fileno()), str(steps)]
        ended, _, _ = isolate._watched(command, b"", file.fileno(), 8.0, heard.append)
    assert ended == code
    assert heard
