"""Reading a clip group: the real video and its fakes, opened, lined up and decoded side by side."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
from numpy.typing import NDArray

from facemill import VideoError
from manifests import ClipGroup, FailureRecord, Reason, Stage, VideoEntry, locate
from masks import Alignment, estimate_offset, thumbnail
from pipeline.decode import Frame, VideoReader
from pipeline.recipe import Recipe
from pipeline.sample import sample_frames

__all__ = ["Clip", "ClipVideo", "FrameWindow", "open_clips"]

WINDOW_BYTES = 192 << 20
"""Decoded frames of a window, over all videos of the clip: what keeps a worker's memory flat."""
LONGEST_WINDOW = 32
"""Frames of a window, per video, at most."""
SHORT = 0.5
"""A video shorter than this share of its clip's longest is damaged: it does not shorten the others."""


@dataclass(slots=True)
class ClipVideo:
    """One opened video of a clip.

    Attributes:
        offset: frame of this video that shows the clip's frame 0.
        file_bytes: size of the file.
        official: reader of the official mask video, where the recipe wants it and it can be read.
    """

    entry: VideoEntry
    reader: VideoReader
    file_bytes: int
    offset: int = 0
    official: VideoReader | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the upright frames."""
        return self.reader.info.height, self.reader.info.width


@dataclass(slots=True)
class FrameWindow:
    """The same few sampled frames of every video of a clip.

    Attributes:
        indices: frames, counted in the clip (a video's own index is this plus its offset).
        frames: by `video_id`, as many as there are indices; `image` is None where one does not decode.
        official: likewise, frames of the official mask videos.
    """

    indices: list[int]
    frames: dict[str, list[Frame]]
    official: dict[str, list[Frame]]


@dataclass(slots=True)
class Clip:
    """Videos that are processed together: one real video and the fakes that fit it, or a lone video.

    Attributes:
        lead: the video in which faces are sought: the real one, or the lone one.
        fakes: fakes that line up with the lead.
        indices: sampled frames, counted in the clip.
        failures: videos that broke off while they were read; complete once the windows are.
    """

    lead: ClipVideo
    fakes: list[ClipVideo]
    indices: NDArray[np.int64]
    failures: list[FailureRecord] = field(default_factory=list)

    @property
    def videos(self) -> list[ClipVideo]:
        return [self.lead, *self.fakes]

    def windows(self) -> Iterator[FrameWindow]:
        """Decode all videos side by side, a window at a time, each from its start to its last wanted frame."""
        frames = {video.entry.video_id: self._frames(video, video.reader) for video in self.videos}
        official = {
            video.entry.video_id: self._frames(video, video.official)
            for video in self.videos
            if video.official is not None
        }
        step = self._window_length()
        for start in range(0, len(self.indices), step):
            indices = self.indices[start : start + step].tolist()
            yield FrameWindow(indices, _take(frames, len(indices)), _take(official, len(indices)))

    def _frames(self, video: ClipVideo, reader: VideoReader) -> Iterator[Frame]:
        """A video's sampled frames; past its end, or after it broke off, frames that do not decode."""
        indices = (self.indices + video.offset).tolist()
        present = [index for index in indices if index < reader.info.frame_count]
        done = 0
        try:
            for frame in reader.read(present):
                yield frame
                done += 1
        except VideoError as error:
            message = f"{error.message} (after {done} of {len(indices)} sampled frames)"
            self.failures.append(
                FailureRecord(video.entry.video_id, Stage.DECODE, Reason(error.reason), message, len(indices) - done)
            )
        yield from (Frame(index, 0.0, None) for index in indices[done:])

    def _window_length(self) -> int:
        bytes_each = sum(3 * int(np.prod(video.shape)) for video in self.videos)
        return int(np.clip(WINDOW_BYTES // bytes_each, 1, LONGEST_WINDOW))


def open_clips(group: ClipGroup, recipe: Recipe, threads: int, resources: ExitStack) -> Iterator[Clip | FailureRecord]:
    """Open a group's videos and line them up.

    Yields a failure for each video that cannot be opened, and the clips that the others make: usually
    one. Without its original, and where it does not fit it, a fake is a clip of its own. Everything opened
    is closed by `resources`.
    """
    opened: list[ClipVideo] = []
    for entry in group.videos():
        try:
            opened.append(_open_video(entry, recipe, threads, resources))
        except VideoError as error:
            yield FailureRecord(entry.video_id, Stage.DECODE, Reason(error.reason), error.message)
    real = next((video for video in opened if video.entry is group.real), None)
    fakes = [video for video in opened if video is not real]
    misfits = [] if real is None else _line_up(real, fakes, recipe.mask.max_offset)
    yield from misfits
    alone = {failure.video_id for failure in misfits}
    if real is not None:
        yield _sampled(real, [fake for fake in fakes if fake.entry.video_id not in alone], recipe)
    for fake in fakes:
        if real is None or fake.entry.video_id in alone:
            yield _sampled(fake, [], recipe)


def _open_video(entry: VideoEntry, recipe: Recipe, threads: int, resources: ExitStack) -> ClipVideo:
    path = _local_copy(locate(entry.root, entry.path), resources)
    reader = resources.enter_context(VideoReader(path, recipe.decode, threads=threads))
    video = ClipVideo(entry, reader, path.stat().st_size)
    if recipe.mask.source != "difference" and entry.mask_path is not None:
        try:
            mask_path = _local_copy(locate(entry.root, entry.mask_path), resources)
            video.official = resources.enter_context(VideoReader(mask_path, recipe.decode, threads=threads))
        except VideoError:
            video.official = None  # each of its frames is then recorded as a mask that is not there
    return video


def _local_copy(location: str, resources: ExitStack) -> Path:
    """Path of a video on this machine; a remote one is copied here for as long as its clip is open."""
    if "://" not in location:
        return Path(location)
    folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="facemill-"))
    path = Path(folder) / location.rpartition("/")[2]
    try:
        with fsspec.open(location) as remote, path.open("wb") as local:
            shutil.copyfileobj(remote, local)
    except OSError as error:
        raise VideoError(Reason.MISSING_FILE, f"{location} cannot be fetched: {error}.") from error
    return path


def _line_up(real: ClipVideo, fakes: Sequence[ClipVideo], max_offset: int) -> list[FailureRecord]:
    """Find by how many frames each fake is shifted against its original; returns those that do not fit it."""
    misfits = []
    thumbnails = _first_thumbnails(real, max_offset) if fakes and max_offset else None
    for fake in fakes:
        if fake.shape != real.shape:
            (height, width), (real_height, real_width) = fake.shape, real.shape
            message = f"Its frames are {width}x{height} and its original's {real_width}x{real_height}: it gets no mask."
            misfits.append(FailureRecord(fake.entry.video_id, Stage.MASK, Reason.SIZE_MISMATCH, message))
        elif thumbnails is not None:
            alignment = _align(thumbnails, _first_thumbnails(fake, max_offset), max_offset)
            fake.offset = alignment.offset if alignment.aligned else 0
            if not alignment.aligned:
                message = f"No offset up to {max_offset} frames lines it up with its original: it gets no mask."
                misfits.append(FailureRecord(fake.entry.video_id, Stage.MASK, Reason.MISALIGNED, message))
    return misfits


def _first_thumbnails(video: ClipVideo, max_offset: int) -> NDArray[np.float32]:
    """Thumbnails [N, h, w] of the first frames, up to the first that does not decode."""
    count = min(2 * max_offset + 4, video.reader.info.frame_count)
    frames: list[NDArray[np.float32]] = []
    for frame in video.reader.read(range(count)):
        if frame.image is None:
            break
        frames.append(thumbnail(frame.image))
    return np.stack(frames) if frames else np.empty((0, 1, 1), np.float32)


def _align(real: NDArray[np.float32], fake: NDArray[np.float32], max_offset: int) -> Alignment:
    """Offset of a fake; 0 where either is too short to tell."""
    shortest = min(len(real), len(fake))
    if shortest <= 2 * max_offset:
        return Alignment(offset=0, residual=0.0, aligned=True)
    return estimate_offset(real[:shortest], fake[:shortest], max_offset)


def _sampled(lead: ClipVideo, fakes: Sequence[ClipVideo], recipe: Recipe) -> Clip:
    videos = [lead, *fakes]
    longest = max(video.reader.info.frame_count for video in videos)
    sharing = [video for video in videos if video.reader.info.frame_count >= SHORT * longest]
    start = max(-video.offset for video in videos)
    end = min(video.reader.info.frame_count - video.offset for video in sharing)
    chosen = sample_frames(recipe.sample, max(0, end - start), seed=recipe.seed, group_id=lead.entry.video_id)
    return Clip(lead, list(fakes), chosen + start)


def _take(readers: dict[str, Iterator[Frame]], count: int) -> dict[str, list[Frame]]:
    return {video_id: list(islice(frames, count)) for video_id, frames in readers.items()}
