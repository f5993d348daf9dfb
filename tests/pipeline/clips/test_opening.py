"""Which files of a group are opened, as what, and which of their frames are used."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from facemill.manifests import ClipGroup, FailureRecord, Reason, VideoEntry
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import FakeFrames, FakeRestart, LeadWindow
from facemill.pipeline.clips.opening import open_clips
from facemill.pipeline.config.recipe import load_recipe
from tests.conftest import encode_video
from tests.pipeline.conftest import Actor, film

STEP = 8
"""Gray levels between the frames of `ramp`, which tell their numbers."""


def ramp(frames: int, *, height: int = 48, width: int = 64, start: int = 0) -> np.ndarray:
    """Frames [N, H, W, 3], each brighter than the one before."""
    levels = STEP * np.arange(start, start + frames, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy()


def entry(folder: Path, name: str, label: int = 0, **fields: Any) -> VideoEntry:
    given = {"video_id": name.partition(".")[0], "path": name, "root": str(folder)}
    given |= {"source_id": "real" if label else None, **fields}
    return VideoEntry(dataset="d", method="m", label=label, quality="native", split="train", **given)


def opened(group: ClipGroup, resources: ExitStack, *sets: str) -> list[Clip | FailureRecord]:
    return list(open_clips(group, load_recipe("default", ["sample.strategy=all", *sets]), 1, resources))


def shown(frame: Any) -> int:
    """Number of the frame of `ramp` that is seen."""
    return round(float(np.median(frame.image)) / STEP)


def test_a_file_is_known_by_its_size_and_a_name_without_suffix_is_one(tmp_path: Path) -> None:
    encode_video(tmp_path / "clip.mp4", ramp(6))
    shutil.copy(tmp_path / "clip.mp4", tmp_path / "clip")
    for name in ("clip.mp4", "clip"):
        with ExitStack() as resources:
            [clip] = opened(ClipGroup(entry(tmp_path, name)), resources)
            assert isinstance(clip, Clip)
            assert not clip.lead.is_sequence
            assert clip.lead.file_bytes == (tmp_path / name).stat().st_size > 0
            assert clip.indices.tolist() == list(range(6))


def test_a_remote_video_is_copied_for_as_long_as_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = encode_video(tmp_path / "local" / "clip.mp4", ramp(6)).read_bytes()
    with fsspec.open("memory://corpus/clip.mp4", "wb") as file:
        file.write(data)
    with ExitStack() as resources:
        [clip] = opened(ClipGroup(entry(Path(), "clip.mp4", root="memory://corpus")), resources)
        assert isinstance(clip, Clip)
        assert clip.lead.file_bytes == len(data)
        [copy] = tmp_path.glob("facemill-copies-*/1/clip.mp4")
        assert copy.read_bytes() == data
    assert list(tmp_path.glob("facemill-copies-*")) == []


def test_frames_and_masks_of_a_fake_are_those_of_its_own_moments(tmp_path: Path) -> None:
    """The fake lacks the first two frames: its frame 0, and frame 0 of its mask video, show the real's frame 2."""
    mover = Actor(20, 60, side=110, dx=3)
    encode_video(tmp_path / "real.mp4", film([mover], 24))
    encode_video(tmp_path / "fake.mp4", film([mover], 22, forged=0, start=2))
    encode_video(tmp_path / "mask.mp4", ramp(22, start=2), crf="1")
    fake = entry(tmp_path, "fake.mp4", 1, mask_path="mask.mp4")
    seen: dict[int, tuple[int, int]] = {}
    with ExitStack() as resources:
        [clip] = opened(ClipGroup(entry(tmp_path, "real.mp4"), (fake,)), resources, "mask.source=official")
        assert isinstance(clip, Clip)
        for item in clip.items():
            if isinstance(item, LeadWindow):
                indices = item.indices
            elif isinstance(item, FakeRestart):
                seen.clear()
            elif isinstance(item, FakeFrames):
                for number, (frame, truth) in enumerate(zip(item.frames, item.ground_truth, strict=True), item.start):
                    if frame is not None and truth is not None:
                        seen[indices[number]] = frame.index, shown(truth)
    assert seen == {real: (real - 2, real) for real in range(2, 22)}


def test_a_fake_on_its_side_is_no_misfit_of_its_sorted_sides(tmp_path: Path) -> None:
    """40x50 and 50x40 have the same two numbers, and other images."""
    encode_video(tmp_path / "real.mp4", ramp(6, height=80, width=64))
    encode_video(tmp_path / "fake.mp4", ramp(6, height=64, width=80))
    with ExitStack() as resources:
        failure, clip, alone = opened(
            ClipGroup(entry(tmp_path, "real.mp4"), (entry(tmp_path, "fake.mp4", 1),)), resources
        )
        assert isinstance(failure, FailureRecord)
        assert (failure.video_id, failure.reason) == ("fake", Reason.SIZE_MISMATCH)
        assert isinstance(clip, Clip)
        assert isinstance(alone, Clip)
        assert (clip.lead.video_id, clip.fakes, alone.lead.video_id) == ("real", [], "fake")


def test_samples_lie_in_the_span_that_all_fakes_share(tmp_path: Path) -> None:
    """One fake ends early and the other one is much too short to count."""
    encode_video(tmp_path / "real.mp4", ramp(24))
    for name, frames in (("long", 24), ("early", 18), ("stump", 5)):
        encode_video(tmp_path / f"{name}.mp4", ramp(frames))
    fakes = tuple(entry(tmp_path, f"{name}.mp4", 1) for name in ("early", "long", "stump"))
    with ExitStack() as resources:
        [clip] = opened(ClipGroup(entry(tmp_path, "real.mp4"), fakes), resources)
        assert isinstance(clip, Clip)
        assert clip.indices.tolist() == list(range(18))


def test_frames_drawn_at_random_depend_on_the_recipe_s_seed(tmp_path: Path) -> None:
    encode_video(tmp_path / "clip.mp4", ramp(30))
    drawn = []
    for seed in (0, 1, 1):
        with ExitStack() as resources:
            sets = ("sample.strategy=random", "sample.frames=6", f"seed={seed}")
            [clip] = opened(ClipGroup(entry(tmp_path, "clip.mp4")), resources, *sets)
            assert isinstance(clip, Clip)
            drawn.append(clip.indices.tolist())
    assert drawn[0] != drawn[1] == drawn[2]
