"""Prefetching: the next frames are decoded in a thread while the current ones are processed."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage
from facemill.manifests.exclusion import sampled_rest
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.fetcher import Fetcher, videos_of
from facemill.pipeline.clips.items import ClipItem, CropFrames, FakeFrames, LeadWindow
from facemill.pipeline.clips.opening import open_clips
from facemill.pipeline.clips.stopwatch import Stopwatch
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Frame

__all__ = ["BrokenGroup", "Prefetch"]

ITEMS_AHEAD = 1
"""Finished items that wait in the queue; one more is being decoded and one is in use."""
GROUPS_AHEAD = 2
"""Later groups whose remote videos are copied while one is decoded."""
LARGE_BYTES = 64 << 20
"""Frame size above which nothing is decoded ahead, since three items of such frames exceed a worker's memory."""


@dataclass(frozen=True, slots=True)
class BrokenGroup:
    """A clip group that could not be read because of an error in facemill itself."""

    group: ClipGroup
    error: Exception


class _End:
    """Marks the end of the queue."""


_Item = FailureRecord | Clip | ClipItem | BrokenGroup | type[_End]


class Prefetch:
    """Opens and decodes clip groups in order, in one background thread.

    Iterating yields, group by group, failures to open and pairs of a clip and its items; all items of
    a clip must be consumed before the next pair is requested. Leaving the context stops the thread.

    Args:
        on_stage: see `Stopwatch`; called in that thread.
        device: as in `open_clips`.

    Attributes:
        watch: time spent decoding in the background.
    """

    def __init__(
        self,
        groups: Sequence[ClipGroup],
        recipe: Recipe,
        threads: int,
        on_stage: Callable[[str], None] = lambda stage: None,
        device: str = "cpu",
    ) -> None:
        self.watch = Stopwatch(on_stage)
        self._groups, self._recipe, self._threads, self._device = groups, recipe, threads, device
        self._excluded = frozenset(recipe.filter.exclude)
        self._queue: queue.Queue[_Item] = queue.Queue(ITEMS_AHEAD)
        self._stopped = threading.Event()
        self._pending: _Item | None = None
        self._taken = False
        self._thread = threading.Thread(target=self._decode, name="prefetch", daemon=True)

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[FailureRecord | BrokenGroup | tuple[Clip, Iterator[ClipItem]]]:
        while (item := self._next()) is not _End:
            if isinstance(item, Clip):
                yield item, self._clip_items()
            elif isinstance(item, FailureRecord | BrokenGroup):
                yield item

    def _clip_items(self) -> Iterator[ClipItem]:
        while isinstance(item := self._next(), ClipItem):
            yield item
            del item  # a frame of it would stay while the next is decoded
        self._pending = item

    def _next(self) -> _Item:
        item, self._pending = self._pending, None
        if item is not None:
            return item
        if self._taken:
            self._queue.task_done()
        self._taken = True
        return self._queue.get()

    # In the background thread ----------------------------------------------------------------------

    def _decode(self) -> None:
        rests = [sampled_rest(group, self._excluded) for group in self._groups]
        with Fetcher() as fetcher:
            for number, (group, rest) in enumerate(zip(self._groups, rests, strict=True)):
                for each in rests[number : number + 1 + GROUPS_AHEAD]:
                    fetcher.ahead(() if each is None else videos_of(each, self._recipe))
                try:
                    with ExitStack() as resources:
                        for item in self.watch.timed("decode", self._read(group, rest, resources, fetcher)):
                            if not self._put(item):
                                return
                            del item
                except Exception as error:
                    if not self._put(BrokenGroup(group, error)):
                        return
        self._put(_End)

    def _read(
        self, group: ClipGroup, rest: ClipGroup | None, resources: ExitStack, fetcher: Fetcher
    ) -> Iterator[_Item]:
        for video in group.sampled():
            if video.video_id in self._excluded:
                yield FailureRecord(video.video_id, Stage.FILTER, Reason.EXCLUDED, "The recipe excludes this video.")
        if rest is None:
            return
        for opened in open_clips(rest, self._recipe, self._threads, resources, fetcher, self._device):
            yield opened
            if isinstance(opened, Clip):
                yield from opened.items()

    def _put(self, item: _Item) -> bool:
        """Queue an item, and wait until it is consumed if its frames are large; false once iteration has stopped."""
        large = isinstance(item, LeadWindow | FakeFrames | CropFrames) and any(map(_is_large, item.frames))
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                break
        done = self._queue.all_tasks_done
        while large and self._queue.unfinished_tasks and not self._stopped.is_set():
            with done:
                done.wait(0.1)
        return not self._stopped.is_set()


def _is_large(frame: Frame | None) -> bool:
    return frame is not None and frame.image is not None and frame.image.nbytes > LARGE_BYTES
