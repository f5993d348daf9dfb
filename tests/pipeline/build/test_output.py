"""Builds that write behind a URL: the files of a build into a folder, whatever happens on the way."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from facemill import ClusterError, ConfigError, DatasetError
from facemill.manifests import VideoEntry, write_videos
from facemill.manifests.checks.verify import verify
from facemill.manifests.remote import RemoteFolder, local_folder
from facemill.manifests.shards.summary import summarise
from facemill.pipeline.build import output
from facemill.pipeline.build.executors.sequential import SequentialExecutor
from facemill.pipeline.build.job import Watcher, build, finish_build
from facemill.pipeline.build.output import check_held, run_place, taken
from facemill.pipeline.build.state import ShardResult
from facemill.pipeline.build.status import Status, read_status
from facemill.pipeline.build.workers import describe
from facemill.pipeline.commands.cli import app
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.data.loader import FaceLoader
from tests.object_store import files
from tests.pipeline.build.test_job import RECIPE, Notes, videos

__all__ = ["videos"]  # a fixture

pytestmark = pytest.mark.usefixtures("mark_detector")
OUT = "s3://bucket/data/faces"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "BEAT_S", 0.1)
    monkeypatch.setattr(output, "DEAD_S", 0.5)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty folder in this process's memory."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    local_folder.cache_clear()
    yield "memory://bucket/faces"
    local_folder.cache_clear()


def in_folder(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def same_for_all(content: dict[str, bytes]) -> dict[str, bytes | None]:
    """Names of files, with the content of those that say nothing of one run's time."""
    skip = ("_state/lock", "_state/build.log")
    timed = {name for name in content if name.startswith("_state/") and name.endswith(".json")}
    return {name: None if name in timed else data for name, data in content.items() if name not in skip}


class Stopping(Watcher):
    """Interrupts a build when it has committed a shard."""

    def shard(self, result: ShardResult, *, built: bool) -> None:
        if built:
            raise KeyboardInterrupt


@pytest.mark.heavy
def test_the_objects_are_the_files_of_a_build_into_a_folder(videos: list[VideoEntry], tmp_path: Path, s3: Any) -> None:
    here = build(videos, RECIPE, tmp_path / "here", executor="sequential")
    there = build(videos, RECIPE, OUT, executor="sequential")
    assert (there.out, there.samples, there.shards) == (OUT, here.samples, here.shards)
    assert same_for_all(files(OUT)) == same_for_all(in_folder(tmp_path / "here"))
    puts = [path.removeprefix("/bucket/data/faces/") for method, path in s3.requests if method == "PUT"]
    puts = [path for path in puts if not path.startswith("_state/runs/")]  # signs of life, at any time
    assert puts[-1] == "dataset.json"
    for shard in ("train-000000", "train-000001", "train-000002"):
        assert [path for path in puts if shard in path][-1] == f"_state/{shard}.json"
    local_folder.cache_clear()
    assert verify(OUT).problems == verify(OUT).warnings == ()


def test_its_state_can_be_read_from_anywhere(videos: list[VideoEntry], memory: str) -> None:
    seen: list[Status] = []

    class Looking(Watcher):
        def shard(self, result: ShardResult, *, built: bool) -> None:
            seen.append(read_status(memory))

    with pytest.raises(DatasetError, match="There is no memory://bucket/faces/_state"):
        read_status(memory)
    Path(videos[1].root, videos[1].path).unlink()
    build(videos, RECIPE, memory, executor="sequential", watcher=Looking())
    RemoteFolder(memory).write("_state/runs/dead", b'{"shared": false, "at": 1, "host": "node7", "pid": 4}')
    RemoteFolder(memory).write("_state/runs/damaged", b"[")
    after = read_status(memory)
    RemoteFolder(memory).write("_state/runs/dead.beat", str(time.time()).encode())
    assert [run.pid for run in read_status(memory).runs if run.alive] == [4]
    assert [(one.shards_done, one.shards, one.finished) for one in seen] == [(n, 3, False) for n in (1, 2, 3)]
    assert [run.pid for one in seen for run in one.runs if run.alive] == [os.getpid()] * 3
    assert (after.shards_done, after.finished, after.failures) == (3, True, {"missing_file": 1})
    assert (after.videos_per_s, after.in_hand) == (None, ())
    assert sorted((run.host, run.pid, run.alive) for run in after.runs) == [
        ("another host", 0, False),
        ("node7", 4, False),
    ]
    shown = CliRunner().invoke(app, ["status", memory])
    assert "3/3 shards" in shown.output


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_build_goes_on_where_it_was(
    videos: list[VideoEntry], tmp_path: Path, memory: str, killed: bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(videos, RECIPE, memory, executor="sequential", watcher=Stopping())
    assert "dataset.json" not in files(memory)
    assert not any(name.startswith("_state/runs/") for name in files(memory))
    if killed:  # what a process that is killed leaves
        RemoteFolder(memory).write("_state/runs/dead", b'{"shared": false, "at": 1}')
        RemoteFolder(memory).write("_state/runs/dead.beat", b"2")
        RemoteFolder(memory).write("_state/runs/damaged", b"[")
        RemoteFolder(memory).write("_state/runs/late.beat", b"3")
    notes = Notes()
    build(videos, RECIPE, memory, executor="sequential", watcher=notes)
    assert notes.shards == ["train-000000 was there", "train-000001 built", "train-000002 built"]
    build(videos, RECIPE, tmp_path / "here", executor="sequential")
    assert same_for_all(files(memory)) == same_for_all(in_folder(tmp_path / "here"))


@pytest.mark.parametrize(("finished", "byte"), [(False, -20), (True, 40)])
def test_damaged_objects_are_made_again(videos: list[VideoEntry], memory: str, finished: bool, byte: int) -> None:
    """An interrupted build is checked by its footers, a finished one by every byte."""
    build(videos, RECIPE, memory, executor="sequential")
    expected = same_for_all(files(memory))
    name = "train/train-000001.parquet"
    data = bytearray(files(memory)[name])
    data[byte] ^= 255
    RemoteFolder(memory).write(name, bytes(data))
    RemoteFolder(memory).remove("_state/tables/train-000002.faces.parquet")
    if not finished:
        RemoteFolder(memory).remove("dataset.json")
    with pytest.raises(KeyboardInterrupt):
        build(videos, RECIPE, memory, executor="sequential", watcher=Stopping())
    assert "dataset.json" not in files(memory)  # nobody may read half of one build and half of another
    notes = Notes()
    build(videos, RECIPE, memory, executor="sequential", watcher=notes)
    assert notes.shards == ["train-000000 was there", "train-000001 was there", "train-000002 built"]
    assert same_for_all(files(memory)) == expected


def test_parts_side_by_side_and_finish(videos: list[VideoEntry], tmp_path: Path, memory: str) -> None:
    class Another(Watcher):
        def shard(self, result: ShardResult, *, built: bool) -> None:
            build(videos, RECIPE, memory, executor="sequential", part=(2, 2))
            with pytest.raises(ConfigError, match=f"Another build is at work in {memory}: wait for it"):
                build(videos, RECIPE, memory, executor="sequential")

    build(videos, RECIPE, memory, executor="sequential", part=(1, 2), watcher=Another())
    assert "dataset.json" not in files(memory)
    finish_build(videos, RECIPE, memory)
    build(videos, RECIPE, tmp_path / "here", executor="sequential")
    assert same_for_all(files(memory)) == same_for_all(in_folder(tmp_path / "here"))


def test_a_place_of_another_build_or_of_anything_else_is_refused(videos: list[VideoEntry], memory: str) -> None:
    build(videos, RECIPE, memory, executor="sequential", part=(3, 3))
    other = RECIPE.model_copy(update={"seed": 7})
    with pytest.raises(ConfigError, match=r"holds a build with another recipe \(seed"):
        build(videos, other, memory, executor="sequential", part=(1, 3))
    RemoteFolder("memory://bucket/full").write("thesis.pdf", b"")
    with pytest.raises(ConfigError, match="memory://bucket/full is not empty and holds no build"):
        build(videos, RECIPE, "memory://bucket/full", executor="sequential")
    assert [*files("memory://bucket/full")] == ["thesis.pdf"]


def test_workers_are_used_and_go_on_while_their_run_is_under_way(memory: str, tmp_path: Path) -> None:
    for place in (RemoteFolder(memory), tmp_path):
        with taken(place, {"recipe": 1}, []) as (_, run):
            check_held(place, run)
            assert not describe(None, "cpu", [], run_place(place, run))["unseen"]
        with pytest.raises(ClusterError, match=f"The build in {place} was stopped, or another run took it over"):
            check_held(place, run)
        assert describe(None, "cpu", [], run_place(place, run))["unseen"]


def test_a_shard_behind_a_url_makes_progress_that_the_driver_sees(
    videos: list[VideoEntry], memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a worker that takes long for a shard is ended, and so is the next one. Executors' warnings are told."""
    seen, told, run = [], [], SequentialExecutor.run

    class Listening(Watcher):
        def warn(self, line: str) -> None:
            told.append(line)

    def watched(self: SequentialExecutor, function: Any, tasks: Any, *more: Any) -> Iterator[Any]:
        for task in tasks:
            before = self.progress(task)
            yield from run(self, function, [task], *more)
            seen.append(self.progress(task) != before)
        self.warn("That was all.")

    monkeypatch.setattr(SequentialExecutor, "run", watched)
    build(videos, RECIPE, memory, executor="sequential", watcher=Listening())
    assert seen == [True, True, True]
    assert told[-1:] == ["That was all."]


def test_a_run_that_was_taken_over_ends_without_a_dataset(videos: list[VideoEntry], memory: str) -> None:
    class Slept(Watcher):
        def shard(self, result: ShardResult, *, built: bool) -> None:
            for name in files(memory):
                if name.startswith("_state/runs/"):
                    RemoteFolder(memory).remove(name)

    with pytest.raises(ClusterError, match="was stopped"):
        build(videos, RECIPE, memory, executor="sequential", watcher=Slept())
    assert "dataset.json" not in files(memory)
    assert "_state/train-000001.json" not in files(memory)


def test_a_late_sign_of_life_takes_no_place_back(
    videos: list[VideoEntry], memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, was_late = RemoteFolder.write, threading.Event()

    def late(self: RemoteFolder, name: str, content: bytes) -> None:
        if threading.current_thread().name == "claim":
            for claimed in [file for file in files(memory) if file.startswith("_state/runs/")]:
                self.remove(claimed)  # as a run does that takes the place
        write(self, name, content)
        if threading.current_thread().name == "claim":
            was_late.set()

    class Waiting(Watcher):
        def shard(self, result: ShardResult, *, built: bool) -> None:
            assert was_late.wait(60)

    monkeypatch.setattr(RemoteFolder, "write", late)
    with pytest.raises(ClusterError, match="was stopped"):
        build(videos, RECIPE, memory, executor="sequential", watcher=Waiting())
    assert not any(name.startswith("_state/runs/") for name in files(memory))


@pytest.mark.heavy
def test_credentials_that_expire_stop_the_build_and_the_same_call_resumes_it(
    videos: list[VideoEntry], tmp_path: Path, s3: Any
) -> None:
    def expired(method: str, path: str, environ: dict[str, Any], start: Any) -> Any:
        over = any(path.endswith("_state/train-000000.json") for method, path in s3.requests if method == "PUT")
        over &= not path.endswith("_state/train-000000.json")
        return s3.refuse(start, "400 Bad Request", "ExpiredToken", "The provided token has expired.") if over else None

    s3.fault = expired
    with pytest.raises(DatasetError, match=r"s3://bucket/data/faces/.*token has expired\): check .* credentials"):
        build(videos, RECIPE, OUT, executor="sequential")
    s3.fault = None
    assert any("_state/runs/" in name for name in files(OUT))  # it could not be removed either
    notes = Notes()
    build(videos, RECIPE, OUT, executor="sequential", watcher=notes)
    assert notes.shards == ["train-000000 was there", "train-000001 built", "train-000002 built"]
    build(videos, RECIPE, tmp_path / "here", executor="sequential")
    assert same_for_all(files(OUT)) == same_for_all(in_folder(tmp_path / "here"))


@pytest.mark.heavy
def test_samples_are_those_of_a_build_into_a_folder(videos: list[VideoEntry], tmp_path: Path, s3: Any) -> None:
    """Also where the server throttles and cuts bodies short now and then."""
    disturbed = iter(range(10_000))

    def disturb(method: str, path: str, environ: dict[str, Any], start: Any) -> Any:
        number = next(disturbed) % 24
        if number == 7:
            return s3.refuse(start, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
        return s3.cut(environ, start) if number == 19 and method == "GET" else None

    s3.fault = disturb
    build(videos, RECIPE, OUT, executor="sequential")
    build(videos, RECIPE, tmp_path / "here", executor="sequential")
    assert same_for_all(files(OUT)) == same_for_all(in_folder(tmp_path / "here"))
    local_folder.cache_clear()
    here, there = (FaceLoader(FaceDataset(place, "train"), batch_size=5) for place in (tmp_path / "here", OUT))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one["mask"], other["mask"])
    assert summarise(OUT).samples == summarise(tmp_path / "here").samples


def test_commands_take_urls(videos: list[VideoEntry], tmp_path: Path, memory: str) -> None:
    write_videos(videos, tmp_path / "videos.parquet")
    sets = [part for one in ("crop.size=96", "sample.frames=3") for part in ("--set", one)]
    ended = CliRunner().invoke(
        app, ["build", f"{tmp_path}/videos.parquet", "--out", memory, "--executor", "sequential", *sets]
    )
    assert ended.exit_code == 0, ended.output
    assert f"18 samples of 6 videos in 1 shards -> {memory}" in ended.output
    verified = CliRunner().invoke(app, ["verify", memory, "--quiet"])
    assert verified.output.startswith("18 samples in 1 shards, 6 videos: 0 problems")
    assert not [*local_folder(memory, whole=True).glob("train/*")]  # a shard is there while it is read
    inspected = json.loads(CliRunner().invoke(app, ["inspect", memory, "--json"]).output)
    assert inspected["videos"] == 6
    assert inspected["seconds"]["decode"] > 0
    exported = CliRunner().invoke(app, ["export", memory, "--out", f"{tmp_path}/export", "--quiet"])
    assert exported.output.startswith("18 samples of 6 videos"), exported.output
    sheet = CliRunner().invoke(app, ["report", memory, "--out", f"{tmp_path}/sheet.png"])
    assert sheet.exit_code == 0, sheet.output
    RemoteFolder(memory).write("train/train-000009.parquet", b"")
    RemoteFolder(memory).write("train/notes.txt", b"")
    RemoteFolder(memory).remove("train/train-000000.parquet")
    local_folder.cache_clear()
    verified = CliRunner().invoke(app, ["verify", memory, "--quiet"])
    assert verified.exit_code == 3
    assert "train-000009.parquet: dataset.json does not list this shard" in verified.output
    assert "train/notes.txt: it is not a file of the dataset" in verified.output
    assert "train-000000.parquet: the shard is missing" in verified.output
