import pickle
import subprocess
from pathlib import Path

import pytest

from facemill.manifests import ClipGroup, VideoEntry
from facemill.pipeline.build import isolate
from facemill.pipeline.build.isolate import find_poison
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.config.recipe import load_recipe


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


def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deadly: set[frozenset[str]]) -> tuple[set[str], list[str]]:
    """Poison found where processes die that get one of `deadly` sets of videos, and what was tried."""
    tried = []

    def run(command: list[str], *, input: bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
        spec, _ = pickle.loads(input)
        videos = frozenset(video.video_id for group in spec.groups for video in group.videos())
        tried.append("+".join(sorted(videos)))
        return subprocess.CompletedProcess(command, -9 if any(some <= videos for some in deadly) else 1)

    monkeypatch.setattr(isolate.subprocess, "run", run)
    job = BuildJob(tmp_path, load_recipe("default"))
    return set(find_poison(ShardSpec("train-000000", "train", GROUPS), job)), tried


def test_of_a_deadly_group_the_deadly_video_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison, tried = named(tmp_path, monkeypatch, {frozenset({"fake1"})})
    assert poison == {"fake1"}
    assert tried == ["fake1+fake2+real", "real", "fake1", "fake2", "healthy", "alone"]


def test_videos_that_kill_only_together_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison, _ = named(tmp_path, monkeypatch, {frozenset({"real", "fake2"})})
    assert poison == {"real", "fake1", "fake2"}


def test_a_lone_video_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison, tried = named(tmp_path, monkeypatch, {frozenset({"alone"})})
    assert poison == {"alone"}
    assert tried.count("alone") == 1


def test_an_ordinary_failure_of_the_process_is_no_poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison, _ = named(tmp_path, monkeypatch, set())
    assert poison == set()
