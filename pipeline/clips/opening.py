"""Opening a clip group: which of its videos can be read, and which of them form a clip."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemill import VideoError
from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage, VideoEntry, locate
from facemill.manifests.remote import is_url
from facemill.manifests.sequences import is_sequence
from facemill.masks import match_by_time
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.fetcher import Fetcher
from facemill.pipeline.clips.items import ClipVideo, FrameReader
from facemill.pipeline.clips.sampling import sample_frames
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Colour, SequenceReader, VideoReader

__all__ = ["open_clips", "open_frames"]

_UNTAGGED = Colour()
SHORT = 0.5
"""Share of its original's length below which a fake counts as damaged and does not shorten the sampled span."""
SAME_ASPECT = 0.01
"""Largest relative difference of two frames' aspect ratios at which they may show the same image at two sizes."""


def open_clips(
    group: ClipGroup, recipe: Recipe, threads: int, resources: ExitStack, fetcher: Fetcher | None = None
) -> Iterator[Clip | FailureRecord]:
    """Open a group's videos.

    Yields a failure for each video that cannot be opened, and the clips that the others form, usually one. Consume the
    items of a clip before requesting the next one: fakes that do not follow their original are only found by reading
    them, and then become clips of their own. Everything opened is closed by `resources`.

    Args:
        fetcher: may have begun to copy the group's remote videos.
    """
    opened: list[ClipVideo] = []
    colour = _UNTAGGED  # a fake without colour tags has the colours of its original, which is opened first
    for entry in group.videos():
        try:
            opened.append(video := _open_video(entry, recipe, threads, resources, colour, fetcher))
            if entry is group.real:
                colour = video.reader.info.colour
        except VideoError as error:
            yield FailureRecord(entry.video_id, Stage.DECODE, Reason(error.reason), error.message)
    real = next((video for video in opened if video.entry is group.real), None)
    alone = [video for video in opened if video is not real]
    if real is not None:
        misfits = {fake.video_id: failure for fake in alone if (failure := _misfit(real, fake)) is not None}
        yield from misfits.values()
        fakes = [fake for fake in alone if fake.video_id not in misfits]
        for fake in fakes:
            fake.shown = match_by_time(_times(real), _times(fake))
        clip = _clip(real, fakes, recipe, reference=group.real_is_reference)
        if fakes or not clip.reference:
            yield clip
        yield from (_misaligned(fake) for fake in clip.alone)
        alone = [fake for fake in alone if fake.video_id in misfits or fake in clip.alone]
    for fake in alone:
        yield _clip(fake, [], recipe)


def _open_video(
    entry: VideoEntry, recipe: Recipe, threads: int, resources: ExitStack, colour: Colour, fetcher: Fetcher | None
) -> ClipVideo:
    reader = open_frames(entry.root, entry.path, recipe, threads, resources, colour, fetcher)
    video = ClipVideo(entry, reader, reader.path.stat().st_size if isinstance(reader, VideoReader) else 0)
    if recipe.mask.source != "difference" and entry.mask_path is not None:
        # If it cannot be read, the mask of each frame is recorded as missing.
        with suppress(VideoError):
            video.ground_truth = open_frames(entry.root, entry.mask_path, recipe, threads, resources, fetcher=fetcher)
    return video


def open_frames(
    root: str,
    path: str,
    recipe: Recipe,
    threads: int,
    resources: ExitStack,
    colour: Colour = _UNTAGGED,
    fetcher: Fetcher | None = None,
) -> FrameReader:
    """Open a video or an image sequence of a manifest; `resources` closes it.

    Raises:
        VideoError: it cannot be read.
    """
    location = locate(root, path)
    if is_sequence(path) and not Path(location).is_file():  # a video's name may also lack a suffix
        return resources.enter_context(SequenceReader(root, path))
    if is_url(location):  # a copy is kept as long as its clip is open
        location = str((fetcher or resources.enter_context(Fetcher())).take(location, resources))
    return resources.enter_context(VideoReader(Path(location), recipe.decode, threads=threads, colour=colour))


def _misfit(real: ClipVideo, fake: ClipVideo) -> FailureRecord | None:
    """A failure if a fake's aspect ratio shows that its frames cannot correspond to its original's; else None."""
    (height, width), (real_height, real_width) = fake.shape, real.shape
    if abs(width * real_height / (height * real_width) - 1) <= SAME_ASPECT:
        return None
    message = f"Its frames are {width}x{height} and its original's {real_width}x{real_height}: it gets no mask."
    return FailureRecord(fake.video_id, Stage.MASK, Reason.SIZE_MISMATCH, message)


def _misaligned(fake: ClipVideo) -> FailureRecord:
    why = fake.alignment.reason if fake.alignment is not None else "no sampled frame of the original decodes"
    message = f"It cannot be compared with its original ({why}): it gets no mask."
    return FailureRecord(fake.video_id, Stage.MASK, Reason.MISALIGNED, message)


def _times(video: ClipVideo) -> NDArray[np.float64]:
    """Presentation times of all frames, seconds; frame numbers for an image sequence, which has no clock."""
    if isinstance(video.reader, VideoReader):
        return video.reader.times
    return np.arange(video.reader.info.frame_count, dtype=np.float64)


def _clip(lead: ClipVideo, fakes: list[ClipVideo], recipe: Recipe, *, reference: bool = False) -> Clip:
    later = not lead.is_sequence and (recipe.crop.steady or (recipe.crop.around == "mask" and bool(fakes)))
    return Clip(lead, fakes, _sampled(lead, fakes, recipe), reference=reference, crops_later=later)


def _sampled(lead: ClipVideo, fakes: Sequence[ClipVideo], recipe: Recipe) -> NDArray[np.int64]:
    """Sampled frames of the lead, within the span that the lead and its fakes have in common."""
    shared = np.ones(lead.reader.info.frame_count, np.bool_)
    for fake in fakes:
        if np.count_nonzero(fake.shown >= 0) >= SHORT * len(shared):
            shared &= fake.shown >= 0
    span = np.flatnonzero(shared)
    if not len(span):
        return np.empty(0, np.int64)
    length = int(span[-1] - span[0]) + 1
    chosen = sample_frames(recipe.sample, length, seed=recipe.seed, group_id=lead.video_id)
    return np.asarray(chosen + span[0], np.int64)
