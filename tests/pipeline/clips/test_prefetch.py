"""Decoding ahead: usually one item, none if frames are so large that three items would not fit into memory."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage, VideoEntry
from facemill.pipeline.clips import prefetch as module
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipItem, LeadWindow
from facemill.pipeline.clips.prefetch import BrokenGroup, Prefetch
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import Frame

PIXELS = np.zeros((8, 8, 3), np.uint8)


def group(video_id: str) -> ClipGroup:
    return ClipGroup(VideoEntry(video_id, "b", "real", 0, "native", "train", "/", "a.mp4"), ())


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
    made = []
    with Prefetch([group("a")], load_recipe("default"), threads=1) as stream:
        for opened in stream:
            assert isinstance(opened, tuple)
            for _ in opened[1]:
                time.sleep(0.2)  # for the thread to go on, if it will
                made.append(Recorded.made)
    assert len(made) == 4
    assert (made != [1, 2, 3, 4]) == ahead


class Group:
    """Stands in for `open_clips`: what each group gives, and which groups' files are open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **broken: Exception) -> None:
        self.broken, self.open, self.opened = broken, set[str](), list[str]()
        monkeypatch.setattr(module, "open_clips", self.open_clips)

    def open_clips(
        self, group: ClipGroup, recipe: object, threads: int, resources: ExitStack, fetcher: object, device: str
    ) -> Iterator[Clip | FailureRecord]:
        lone: Any = None
        self.open.add(group.group_id)
        self.opened.append(group.group_id)
        resources.callback(self.open.remove, group.group_id)
        yield FailureRecord(group.group_id, Stage.DECODE, Reason.UNREADABLE, "Not a video.")
        yield Recorded(lone, [], np.arange(4))
        if group.group_id in self.broken:
            raise self.broken[group.group_id]
        yield Recorded(lone, [], np.arange(4))


def told(stream: Prefetch) -> Iterator[str]:
    for opened in stream:
        if isinstance(opened, tuple):
            yield " ".join(str(item.indices[0]) for item in opened[1] if isinstance(item, LeadWindow))
        else:
            yield str(opened.error) if isinstance(opened, BrokenGroup) else opened.video_id


def test_groups_come_in_order_and_one_that_breaks_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [group(name) for name in "abc"]
    files = Group(monkeypatch, **{groups[1].group_id: IndexError("rubbish")})
    with Prefetch(groups, load_recipe("default"), threads=1) as stream:
        windows = "0 1 2 3"
        ids = [each.group_id for each in groups]
        assert list(told(stream)) == [ids[0], windows, windows, ids[1], windows, "rubbish", ids[2], windows, windows]
    assert files.open == set()


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_leaving_early_ends_the_thread_and_closes_the_files(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    files = Group(monkeypatch)
    with Prefetch([group("a"), group("b")], load_recipe("default"), threads=1) as stream:
        things = iter(stream)
        for _ in range(taken):
            next(things)
        deadline = time.monotonic() + 30
        while not files.open and time.monotonic() < deadline:
            time.sleep(0.01)
        assert files.open
    assert files.open == set()
    assert len(files.opened) == 1  # nothing is decoded for nobody
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}
