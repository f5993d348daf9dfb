"""Of a long fake, some thumbnails suffice to see that it is in step; if it may not be, all of its frames are read."""

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest

from facemill.manifests import ClipGroup, VideoEntry
from facemill.masks import AlignmentKind, PairAlignment, Thumbnails, align_pair
from facemill.pipeline.clips import clip as clips
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import FakeFrames, FakeRead, FakeRestart
from facemill.pipeline.clips.opening import open_clips
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.conftest import Actor, film

FRAMES = 320
ACTORS = [Actor(60, 60, side=100)]


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[Thumbnails]:
    """The thumbnails by which fakes are aligned, in order."""
    given: list[Thumbnails] = []

    def noted(real: Thumbnails, fake: Thumbnails) -> PairAlignment:
        given.append(fake)
        return align_pair(real, fake)

    monkeypatch.setattr(clips, "align_pair", noted)
    return given


def read(group: ClipGroup) -> tuple[Clip, list[int], list[type]]:
    """The clip, the sampled frames of its fake as they were used, and what its items were."""
    shown: list[int] = []
    kinds = []
    with ExitStack() as resources:
        clip = next(iter(open_clips(group, load_recipe("default", ["sample.frames=9"]), 1, resources)))
        assert isinstance(clip, Clip)
        for item in clip.items():
            kinds.append(type(item))
            if isinstance(item, FakeRestart):
                shown.clear()
            if isinstance(item, FakeFrames):
                shown += [-1 if frame is None else frame.index for frame in item.frames]
    return clip, shown, kinds


def test_a_fake_in_step_is_seen_by_a_third_of_its_frames_and_all_sampled_ones(
    add_video: Callable[..., VideoEntry], aligned: list[Thumbnails]
) -> None:
    fake = add_video("fake", film(ACTORS, FRAMES, forged=0), 1, source_id="real")
    clip, shown, kinds = read(ClipGroup(add_video("real", film(ACTORS, FRAMES)), (fake,)))
    (seen,) = aligned
    assert 0.7 * clips.ENOUGH <= len(seen.indices) <= FRAMES // 3 + 9
    assert set(clip.indices) <= set(seen.indices)
    assert shown == clip.indices.tolist()
    assert FakeRestart not in kinds


def test_a_fake_that_lacks_a_frame_is_read_again_with_all_frames(
    add_video: Callable[..., VideoEntry], aligned: list[Thumbnails]
) -> None:
    there = np.setdiff1d(np.arange(FRAMES), [170])
    fake = add_video("fake", film(ACTORS, FRAMES, forged=0)[there], 1, source_id="real")
    clip, shown, _ = read(ClipGroup(add_video("real", film(ACTORS, FRAMES)), (fake,)))
    assert [len(seen.indices) == FRAMES - 1 for seen in aligned] == [False, True]
    assert [there[index] for index in shown] == clip.indices.tolist()


def test_a_fake_is_refused_only_by_all_of_its_frames(
    add_video: Callable[..., VideoEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(real: Thumbnails, fake: Thumbnails) -> PairAlignment:
        few = len(fake.indices) < FRAMES
        found = align_pair(real, fake)
        return PairAlignment(AlignmentKind.REFUSED, *(found.real_of * 0 - 1, found.fake_of * 0 - 1), found.alike,
                             found.doubtful) if few else found  # fmt: skip

    monkeypatch.setattr(clips, "align_pair", strict)
    monkeypatch.setattr(clips, "ENOUGH", FRAMES // 2)  # every second frame is looked at, the most that are not all
    fake = add_video("fake", film(ACTORS, FRAMES, forged=0), 1, source_id="real")
    clip, shown, kinds = read(ClipGroup(add_video("real", film(ACTORS, FRAMES)), (fake,)))
    assert (shown, clip.alone) == (clip.indices.tolist(), [])
    assert (kinds.count(FakeRestart), kinds.count(FakeRead)) == (1, 1)


def test_another_video_is_refused_once_all_of_its_frames_are_seen(
    add_video: Callable[..., VideoEntry], aligned: list[Thumbnails]
) -> None:
    other = add_video("fake", film(ACTORS, FRAMES, seed=5), 1, source_id="real")
    clip, _, _ = read(ClipGroup(add_video("real", film(ACTORS, FRAMES)), (other,)))
    assert [video.video_id for video in clip.alone] == ["fake"]
    assert [len(seen.indices) == FRAMES for seen in aligned] == [False, True]
