"""Reading a clip group: the real video and its fakes, opened, lined up and decoded side by side."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
from numpy.typing import NDArray

from facemill import VideoError
from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage, VideoEntry, locate
from facemill.manifests.sequences import is_sequence
from facemill.masks import estimate_offset, thumbnail
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Frame, SequenceReader, VideoReader
from facemill.pipeline.extract.sample import sample_frames

__all__ = ["Clip", "ClipVideo", "FrameWindow", "open_clips"]

WINDOW_BYTES = 192 << 20
"""Decoded frames of a window, over all videos of the clip: what keeps a worker's memory flat."""
LONGEST_WINDOW = 32
"""Frames of a window, per video, at most."""
SHORT = 0.5
"""A fake shorter than this share of its original is damaged: it does not shorten the others."""

FrameReader = VideoReader | SequenceReader


@dataclass(slots=True)
class ClipVideo:
    """One opened video of a clip.

    Attributes:
        offset: frame of this video that shows the clip's frame 0.
        file_bytes: size of the file; 0 for a sequence of pictures.
        start: thumbnails [N, h, w] of its first frames, by which it is lined up with its original.
        official: reader of the official mask video, where the recipe wants it and it can be read.
    """

    entry: VideoEntry
    reader: FrameReader
    file_bytes: int
    start: NDArray[np.float32]
    offset: int = 0
    official: FrameReader | None = None

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

    @property
    def cropped(self) -> bool:
        """Whether its frames are face crops already, so that no face is sought in them: those of a sequence."""
        return isinstance(self.lead.reader, SequenceReader)

    def windows(self) -> Iterator[FrameWindow]:
        """Decode all videos side by side, a window at a time, each from its start to its last wanted frame."""
        frames = {
            video.entry.video_id: _or_missing(video.reader, self._indices(video), partial(self._broke_off, video))
            for video in self.videos
        }
        official = {
            video.entry.video_id: _or_missing(video.official, self._indices(video))
            for video in self.videos
            if video.official is not None
        }
        step = self._window_length()
        for start in range(0, len(self.indices), step):
            indices = self.indices[start : start + step].tolist()
            yield FrameWindow(indices, _take(frames, len(indices)), _take(official, len(indices)))

    def _broke_off(self, video: ClipVideo, error: VideoError, missing: int) -> None:
        message = f"{error.message} ({missing} of {len(self.indices)} sampled frames were still to come.)"
        self.failures.append(FailureRecord(video.entry.video_id, Stage.DECODE, Reason(error.reason), message, missing))

    def _indices(self, video: ClipVideo) -> list[int]:
        return [int(index) + video.offset for index in self.indices]

    def _window_length(self) -> int:
        readers = [reader for video in self.videos for reader in (video.reader, video.official) if reader is not None]
        bytes_each = sum(3 * reader.info.height * reader.info.width for reader in readers)
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
            opened.append(_open_video(entry, recipe, threads, resources, in_pair=bool(group.real and group.fakes)))
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


def _open_video(entry: VideoEntry, recipe: Recipe, threads: int, resources: ExitStack, *, in_pair: bool) -> ClipVideo:
    reader = _open_frames(entry.root, entry.path, recipe, threads, resources)
    file_bytes = reader.path.stat().st_size if isinstance(reader, VideoReader) else 0
    start = _first_thumbnails(reader, recipe.mask.max_offset if in_pair else 0)
    video = ClipVideo(entry, reader, file_bytes, start)
    if recipe.mask.source != "difference" and entry.mask_path is not None:
        # Where it cannot be read, each of its frames is recorded as a mask that is not there.
        with suppress(VideoError):
            video.official = _open_frames(entry.root, entry.mask_path, recipe, threads, resources)
    return video


def _open_frames(root: str, path: str, recipe: Recipe, threads: int, resources: ExitStack) -> FrameReader:
    location = locate(root, path)
    if is_sequence(path) and not Path(location).is_file():  # the name of a video may lack a suffix too
        return resources.enter_context(SequenceReader(root, path))
    local = _local_copy(location, resources)
    return resources.enter_context(VideoReader(local, recipe.decode, threads=threads))


def _local_copy(location: str, resources: ExitStack) -> Path:
    """Path of a video on this machine; a remote one is copied here for as long as its clip is open."""
    if "://" not in location:
        return Path(location)
    folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="facemill-"))
    path = Path(folder) / location.rpartition("/")[2]
    try:
        with fsspec.open(location) as remote, path.open("wb") as local:
            shutil.copyfileobj(remote, local)
    except (OSError, ImportError, ValueError) as error:
        raise VideoError(Reason.MISSING_FILE, f"{location} cannot be fetched: {error}.") from error
    return path


def _line_up(real: ClipVideo, fakes: Sequence[ClipVideo], max_offset: int) -> list[FailureRecord]:
    """Find by how many frames each fake is shifted against its original; returns those that do not fit it."""
    misfits = []
    for fake in fakes:
        if fake.shape != real.shape:
            (height, width), (real_height, real_width) = fake.shape, real.shape
            message = f"Its frames are {width}x{height} and its original's {real_width}x{real_height}: it gets no mask."
            misfits.append(FailureRecord(fake.entry.video_id, Stage.MASK, Reason.SIZE_MISMATCH, message))
        elif min(len(real.start), len(fake.start)) > 2 * max_offset > 0:  # else too short to tell: 0
            alignment = estimate_offset(real.start, fake.start, max_offset)
            if alignment.aligned:
                fake.offset = alignment.offset
            else:
                message = f"No offset up to {max_offset} frames lines it up with its original: it gets no mask."
                misfits.append(FailureRecord(fake.entry.video_id, Stage.MASK, Reason.MISALIGNED, message))
    return misfits


def _first_thumbnails(reader: FrameReader, max_offset: int) -> NDArray[np.float32]:
    """Thumbnails [N, h, w] of the first frames, up to the first that does not decode; none for offset 0."""
    count = min(2 * max_offset + 4, reader.info.frame_count) if max_offset else 0
    frames: list[NDArray[np.float32]] = []
    for frame in reader.read(range(count)):
        if frame.image is None:
            break
        frames.append(thumbnail(frame.image))
    return np.stack(frames) if frames else np.empty((0, 1, 1), np.float32)


def _sampled(lead: ClipVideo, fakes: Sequence[ClipVideo], recipe: Recipe) -> Clip:
    frames = {video.entry.video_id: video.reader.info.frame_count for video in (lead, *fakes)}
    present = frames[lead.entry.video_id]
    sharing = [fake for fake in fakes if frames[fake.entry.video_id] >= SHORT * present]
    start = max([0, *(-fake.offset for fake in fakes)])
    end = min([present, *(frames[fake.entry.video_id] - fake.offset for fake in sharing)])
    chosen = sample_frames(recipe.sample, max(0, end - start), seed=recipe.seed, group_id=lead.entry.video_id)
    return Clip(lead, list(fakes), chosen + start)


def _or_missing(
    reader: FrameReader, indices: Sequence[int], broke_off: Callable[[VideoError, int], None] | None = None
) -> Iterator[Frame]:
    """A frame per index; past the video's end, or once it broke off, frames that do not decode.

    Args:
        broke_off: called with the error and the number of frames that were still to come.
    """
    done = 0
    try:
        for frame in reader.read([index for index in indices if index < reader.info.frame_count]):
            yield frame
            done += 1
    except VideoError as error:
        if broke_off is not None:
            broke_off(error, len(indices) - done)
    yield from (Frame(index, 0.0, None) for index in indices[done:])


def _take(readers: dict[str, Iterator[Frame]], count: int) -> dict[str, list[Frame]]:
    return {video_id: list(islice(frames, count)) for video_id, frames in readers.items()}
