"""Only the videos of a clip that are being read have an open decoder, and only frames in use stay in memory."""

import gc
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from av.container import InputContainer

from facemill.manifests import ClipGroup, VideoEntry
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.clips import clip as clips
from facemill.pipeline.clips import prefetch
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import FakeRead
from facemill.pipeline.clips.opening import open_clips
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import DecodedFrame, pyav
from tests.pipeline.conftest import Actor, film

ACTORS = [Actor(60, 60, side=100, dx=1)]


def test_a_fake_is_closed_when_it_has_been_read(add_video: Callable[..., VideoEntry]) -> None:
    fakes = tuple(add_video(f"fake{n}", film(ACTORS, 12, forged=0), 1, source_id="real") for n in range(4))
    group = ClipGroup(add_video("real", film(ACTORS, 12)), fakes)
    counts = []
    with ExitStack() as resources:
        for clip in open_clips(group, load_recipe("default", ["sample.frames=4"]), 1, resources):
            assert isinstance(clip, Clip)
            for item in clip.items():
                if isinstance(item, FakeRead):
                    counts.append([*map(type, gc.get_objects())].count(InputContainer))  # noqa: PERF401
    assert counts[0] == counts[-1] <= 2  # the lead, which goes on to its end, and this one
    assert len(counts) == 4


@pytest.mark.parametrize(("around", "frames"), [("face", 16), ("mask", 32)])
@pytest.mark.usefixtures("mark_detector")
def test_of_large_frames_one_waits_while_the_next_is_decoded(
    add_video: Callable[..., VideoEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str, frames: int
) -> None:
    """A frame of the lead: of 8,192 pixels a side, each takes 200 MB."""
    fakes = tuple(add_video(f"fake{n}", film(ACTORS, 12, forged=0), 1, source_id="real") for n in range(3))
    group = ClipGroup(add_video("real", film(ACTORS, 12)), fakes)
    made: list[weakref.ref[np.ndarray]] = []
    alive = []
    rgb_of = pyav.rgb_of

    def watched(picture: DecodedFrame) -> np.ndarray:
        alive.append(sum(image() is not None for image in made))
        image = rgb_of(picture)
        made.append(weakref.ref(image))
        return image

    monkeypatch.setattr(pyav, "rgb_of", watched)
    monkeypatch.setattr(clips, "WINDOW_BYTES", 1)  # a frame at a time
    monkeypatch.setattr(prefetch, "LARGE_BYTES", 1)
    job = BuildJob(tmp_path / "out", load_recipe("default", ["sample.frames=4", f"crop.around={around}"]))
    assert build_shard(ShardSpec("train-000000", "train", (group,)), job).shard is not None
    assert len(alive) == frames
    assert max(alive) == 1
