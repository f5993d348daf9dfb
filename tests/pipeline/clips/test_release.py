"""Only the videos of a clip that are being read have an open decoder, since a decoder holds frames in memory."""

import gc
from collections.abc import Callable
from contextlib import ExitStack

from av.container import InputContainer

from facemill.manifests import ClipGroup, VideoEntry
from facemill.pipeline.clips.clip import Clip, FakeRead
from facemill.pipeline.clips.opening import open_clips
from facemill.pipeline.config.recipe import load_recipe
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
