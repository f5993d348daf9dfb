"""A clip: one video in which faces are detected (the lead), and the fakes made from it, read one after the other.

The lead is decoded first, with all of its frames. Then each fake is decoded at the frames that show the same moments
according to the time stamps of both files. Once a fake is read, its thumbnails are compared with the lead's; if its
frames show other moments, it is read again with the right ones.

An image sequence has frame numbers instead of time stamps. Cuts are looked for as in a video, between images that
follow each other, whatever is missing between them.
"""

import itertools
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill import VideoError
from facemill.manifests import FailureRecord, Reason, Stage
from facemill.masks import AlignmentKind, Thumbnails, align_pair
from facemill.pipeline.clips.items import (
    ClipItem,
    ClipVideo,
    CropFrames,
    FakeFrames,
    FakeRead,
    FakeRestart,
    FrameReader,
    LeadWindow,
)
from facemill.pipeline.decode import DecodedFrame, Frame, Observer, SmallFrames, thumbnail_of
from facemill.pipeline.tracking.cuts import find_cuts

__all__ = ["Clip"]

WINDOW_BYTES = 192 << 20
"""Size of a window of the lead's decoded frames, which are kept until its fakes have been compared with them."""
LONGEST_WINDOW = 64
"""Most frames in a window."""
ENOUGH, FARTHEST = 100, 4
"""About as many thumbnails of a long fake show whether it is in step; at most, every fourth frame has one."""
READINGS = 3
"""Most times that a fake is read to find the frames that show the same moments as the lead's."""
BATCH = 8
"""Frames of a fake that are yielded at a time."""
BETWEEN = 5
"""Interval, in frames, at which small frames between two samples are kept, to track people who come close together."""
SMALL_SIDE = 480
"""Longer side of the frames kept between samples, pixels."""


@dataclass(slots=True)
class Clip:
    """Videos that are processed together: a real video and its fakes, or a single video.

    Attributes:
        lead: the video in which faces are detected: the real video, or the single one.
        fakes: those made from the lead.
        indices: sampled frames of the lead.
        reference: whether the lead is only read for its fakes and gives no samples.
        crops_later: whether cropping needs the masks or faces of the whole clip, so that its videos are read a second
            time.
        failures: videos whose reading failed partway; complete once all items have been read.
        alone: fakes that turned out not to follow the lead, to be read as clips of their own.
    """

    lead: ClipVideo
    fakes: list[ClipVideo]
    indices: NDArray[np.int64]
    reference: bool = False
    crops_later: bool = False
    failures: list[FailureRecord] = field(default_factory=list)
    alone: list[ClipVideo] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    _between: SmallFrames = field(default_factory=lambda: SmallFrames(SMALL_SIDE))

    @property
    def following(self) -> list[ClipVideo]:
        """The fakes that follow the lead, as far as is known so far."""
        return [fake for fake in self.fakes if fake not in self.alone]

    @property
    def videos(self) -> list[ClipVideo]:
        return [self.lead, *self.following]

    def items(self) -> Iterator[ClipItem]:
        """Read all videos: a window of the lead, then that window of each fake, and so on."""
        every = bool(self.fakes) or self.lead.is_sequence  # of images, none is known to be unlike its neighbours

        def open_lead(start: int) -> Iterator[Frame | None]:
            return self._frames(self.lead, self.indices[start:], self._observe_lead(), every=every)

        lead = open_lead(0)
        truth = self._ground_truth(self.lead, self.indices)
        length = self._window_length()
        streams = {fake.video_id: self._fake_streams(fake, 0) for fake in self.fakes}
        for start in range(0, len(self.indices), length):
            indices = self.indices[start : start + length].tolist()
            last, on_cpu = start + length >= len(self.indices), self.lead.on_cpu
            frames = _window(lead, len(indices), last=last)
            if self.lead.on_cpu != on_cpu:  # the GPU failed, and may have returned damaged frames before
                self._between = SmallFrames(SMALL_SIDE)
                lead = open_lead(start)
                frames = _window(lead, len(indices), last=last)
            seen = self.lead.seen() if self.lead.thumbnails else None
            if seen is not None:
                self.cuts = [int(seen.indices[position]) for position in find_cuts(seen.frames)]
            if start == 0 and all(frame.image is None for frame in frames):
                self.alone = list(self.fakes)
            between, self._between = self._between, SmallFrames(SMALL_SIDE)
            yield LeadWindow(indices, frames, between, self.cuts, list(islice(truth, len(indices))))
            del frames, between  # or they would stay until the next window is complete
            for fake in self.following:
                follows = yield from self._read_fake(fake, seen, streams, start, len(indices))
                if not follows and start == 0:  # none of its frames has been used yet
                    self.alone.append(fake)
                    self._forget_failures(fake)
                if fake in self.alone or last:
                    del streams[fake.video_id]  # frees its decoder, which holds frames
        if self.crops_later:
            yield from self._read_again()

    def _read_again(self) -> Iterator[CropFrames]:
        for video in self.videos:
            wanted = self.indices if video is self.lead else video.shown[self.indices]
            frames = _frames_at(video.reader, wanted.tolist(), lambda error, missing: None)
            size = min(BATCH, self._window_length())
            for start in range(0, len(wanted), size):
                yield CropFrames(video, start, list(islice(frames, size)))

    def _read_fake(
        self, fake: ClipVideo, lead: Thumbnails | None, streams: dict[str, "_Streams"], start: int, count: int
    ) -> Generator[ClipItem, None, bool]:
        """Read a fake's frames of a window, several times if necessary; returns whether it follows the lead.

        Args:
            lead: thumbnails of the lead up to the end of the window.
        """
        for attempt in range(READINGS):
            on_cpu = fake.on_cpu
            yield from _batches(fake, streams[fake.video_id], count)
            if fake.on_cpu != on_cpu:  # as for the lead; it fails only once
                streams[fake.video_id] = self._fake_streams(fake, start, every=attempt > 0)
                yield FakeRestart(fake)
                yield from _batches(fake, streams[fake.video_id], count)
            if not fake.thumbnails or lead is None:
                break
            fake.alignment = align_pair(lead, fake.seen())
            last = start + count == len(self.indices)
            if fake.alignment.kind == AlignmentKind.REFUSED or (last and not fake.alignment.usable):
                if not fake.sparse:
                    yield FakeRead(fake, refused=fake.alignment.reason)
                    return False
            elif attempt == READINGS - 1 or not self._realign(fake, start, count):
                break
            # Where the fake falls out of step, frames that were not looked at cannot be matched: read all of them now.
            streams[fake.video_id] = self._fake_streams(fake, start, every=True)
            yield FakeRestart(fake)
        yield FakeRead(fake)
        return True

    def _forget_failures(self, video: ClipVideo) -> None:
        self.failures = [failure for failure in self.failures if failure.video_id != video.video_id]

    def _realign(self, fake: ClipVideo, start: int, count: int) -> bool:
        """Correct which frames of a fake show which moments; returns whether any frame of this window changes."""
        assert fake.alignment is not None
        sampled = self.indices[start : start + count]
        before, after = fake.shown[sampled], fake.alignment.fake_of[sampled]
        # Without motion, neighbouring frames are equally right.
        settled = (before >= 0) & fake.alignment.alike[before]
        wrong = (before != after) & ~settled
        if wrong.any():
            fake.shown = fake.alignment.fake_of
        return bool(wrong.any())

    def _fake_streams(self, fake: ClipVideo, start: int, *, every: bool = False) -> "_Streams":
        wanted = fake.shown[self.indices[start:]]
        sampled = frozenset(wanted.tolist())
        step = 1 if every else int(np.clip(fake.reader.info.frame_count // ENOUGH, 1, FARTHEST))
        fake.sparse = step > 1
        due = 0

        def observe(index: int, decoded: DecodedFrame) -> None:
            nonlocal due
            if index >= due or index in sampled:
                fake.thumbnails[index] = thumbnail_of(decoded)
            if index >= due:
                due = index + step

        return self._frames(fake, wanted, observe, every=every), self._ground_truth(fake, wanted)

    def _frames(
        self, video: ClipVideo, wanted: NDArray[np.int64], observer: Observer, *, every: bool = False
    ) -> Iterator[Frame | None]:
        def broke_off(error: VideoError, missing: int) -> None:
            message = f"{error.message} ({missing} of {len(self.indices)} sampled frames were still to come.)"
            failure = FailureRecord(video.video_id, Stage.DECODE, Reason(error.reason), message, missing)
            self._forget_failures(video)  # a second reading reports its own failure, or does not reach it
            self.failures.append(failure)

        seen = {} if video.is_crops or not video.searched else {"observer": observer, "every": every}
        return _frames_at(video.reader, wanted.tolist(), broke_off, **seen)

    @staticmethod
    def _ground_truth(video: ClipVideo, wanted: NDArray[np.int64]) -> Iterator[Frame | None]:
        """Frames of its mask video; None for each frame that cannot be read, or if there is no mask video."""
        if video.ground_truth is None:
            return itertools.repeat(None)
        if video.truth_of is not None:
            inside = (wanted >= 0) & (wanted < len(video.truth_of))
            wanted = np.where(inside, video.truth_of[np.where(inside, wanted, 0)], -1)
        frames = _frames_at(video.ground_truth, wanted.tolist(), lambda error, missing: None)
        return (None if frame is None or frame.image is None else frame for frame in frames)

    def _observe_lead(self) -> Observer:
        kept = _between_samples(self.indices)

        def observe(index: int, decoded: DecodedFrame) -> None:
            self.lead.thumbnails[index] = thumbnail_of(decoded)
            if index in kept:
                self._between.add(index, decoded)

        return observe

    def _window_length(self) -> int:
        height, width = self.lead.shape
        return int(np.clip(WINDOW_BYTES // (3 * height * width), 1, LONGEST_WINDOW))


_Streams = tuple[Iterator[Frame | None], Iterator[Frame | None]]


def _window(lead: Iterator[Frame | None], count: int, *, last: bool) -> list[Frame]:
    frames = [frame for frame in islice(lead, count) if frame is not None]  # none is None in the lead
    if last:
        next(lead, None)  # read past the last sample: a fake that lacks frames shows these later moments
    return frames


def _batches(fake: ClipVideo, streams: _Streams, count: int) -> Iterator[FakeFrames]:
    frames, truth = streams
    for position in range(0, count, BATCH):
        size = min(BATCH, count - position)
        yield FakeFrames(fake, position, list(islice(frames, size)), list(islice(truth, size)))


def _between_samples(indices: NDArray[np.int64]) -> frozenset[int]:
    """Frames to keep between samples that lie further apart."""
    steps = (np.arange(a + BETWEEN, b, BETWEEN) for a, b in itertools.pairwise(indices))
    return frozenset(int(index) for step in steps for index in step)


def _frames_at(
    reader: FrameReader,
    wanted: list[int],
    broke_off: Callable[[VideoError, int], None],
    **observing: Any,
) -> Iterator[Frame | None]:
    """Yield a frame for each wanted index; None for -1 and for an index before the last one.

    Past the end of the video, or after an error, frames have no image. With `every`, asking for one item more than
    there are makes the observer see the frames after the last wanted one.

    Args:
        broke_off: called with the error and the number of frames that were still to come.
    """
    count = reader.info.frame_count
    ascending: list[int] = []
    for index in wanted:
        if (ascending[-1] if ascending else -1) < index < count:
            ascending.append(index)
    frames = reader.read(ascending, **observing)
    last: Frame | None = None
    for done, index in enumerate(wanted):
        if index < 0 or (last is not None and index < last.index):
            yield None
            continue
        if index < count and (last is None or index != last.index):
            try:
                last = next(frames)
            except VideoError as error:
                broke_off(error, len(wanted) - done)
                count = 0
        shown = [last if last is not None and index == last.index else Frame(index, 0.0, None)]
        if last is not None and wanted[done + 1 : done + 2] != [index]:
            last = replace(last, image=None)  # only its index is still needed
        yield shown.pop()  # not kept here, as every video of a clip waits here for its next window
    if observing.get("every"):
        with suppress(VideoError):
            next(frames, None)
