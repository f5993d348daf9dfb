"""Decoding ahead: usually one item, none if frames are so large that three items would not fit into memory."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from facemill.manifests import ClipGroup, VideoEntry
from facemill.pipeline.clips import prefetch as module
from facemill.pipeline.clips.clip import Clip, ClipItem, LeadWindow
from facemill.pipeline.clips.prefetch import Prefetch
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import Frame

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Recorded(Clip):
    """A clip that counts the windows it has made."""

    made = 0

    def items(self) -> Iterator[ClipItem]:
        for index in range(4):
            Recorded.made = index + 1
            yield LeadWindow([index], [Frame(index, 0.0, PIXELS)], {}, [], [None])


@pytest.mark.parametrize(("large_bytes", "ahead"), [(PIXELS.nbytes, True), (PIXELS.nbytes - 1, False)])
def test_nothing_is_decoded_ahead_of_large_frames(
    monkeypatch: pytest.MonkeyPatch, large_bytes: int, ahead: bool
) -> None:
    lone: Any = None
    monkeypatch.setattr(module, "LARGE_BYTES", large_bytes)
    monkeypatch.setattr(module, "open_clips", lambda *args: iter([Recorded(lone, [], np.arange(4))]))
    group = ClipGroup(VideoEntry("a", "b", "real", 0, "native", "train", "/", "a.mp4"), ())
    made = []
    with Prefetch([group], load_recipe("default"), threads=1) as stream:
        for opened in stream:
            assert isinstance(opened, tuple)
            for _ in opened[1]:
                time.sleep(0.2)  # for the thread to go on, if it will
                made.append(Recorded.made)
    assert len(made) == 4
    assert (made != [1, 2, 3, 4]) == ahead
