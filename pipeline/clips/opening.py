"""Opening a clip group: which of its videos can be read, and which of them form a clip."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill import ManifestError, VideoError
from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage, VideoEntry, locate
from facemill.manifests.archives import archive_of, open_file
from facemill.manifests.blame import reason_of_error
from facemill.manifests.copies import copies_folder
from facemill.manifests.sequences import is_sequence
from facemill.manifests.urls import is_url
from facemill.masks import match_by_number, match_by_time
from facemill.masks.alignment import MAX_OFFSET
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.fetcher import Fetcher
from facemill.pipeline.clips.items import ClipVideo, FrameReader
from facemill.pipeline.clips.sampling import sample_frames
from facemill.pipeline.config.recipe import Recipe
from facemill.pipeline.decode import Colour, SequenceReader, VideoReader
from facemill.pipeline.decode.sequence import archive_at

__all__ = ["open_clips", "open_frames"]

SHORT = 0.5
"""Share of its original's length below which a fake counts as damaged and does not shorten the sampled span."""
SAME_ASPECT = 0.01
"""Largest relative difference of two frames' aspect ratios at which they may show the same image at two sizes."""


def open_clips(
    group: ClipGroup,
    recipe: Recipe,
    threads: int,
    resources: ExitStack,
    fetcher: Fetcher | None = None,
    device: str = "cpu",
) -> Iterator[Clip | FailureRecord]:
    """Open a group's videos.

    Yields a failure for each video that cannot be opened, and the clips that the others form, usually one. Consume the
    items of a clip before requesting the next one: fakes that do not follow their original are only found by reading
    them, and then become clips of their own. Everything opened is closed by `resources`.

    Args:
        fetcher: may have begun to copy the group's remote videos.
        device: of this worker, which decodes if it is a GPU and the recipe asks for it.
    """
    opened: list[ClipVideo] = []
    colour = Colour()  # a fake without colour tags has the colours of its original, which is opened first
    open_one = partial(open_frames, recipe=recipe, threads=threads, resources=resources, fetcher=fetcher, device=device)
    for entry in group.videos():
        try:
            opened.append(video := _open_video(entry, open_one, recipe, colour))
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
            _match(real, fake)
        clip = _clip(real, fakes, recipe, reference=group.real_is_reference)
        if fakes or not clip.reference:
            yield clip
        yield from (_misaligned(fake) for fake in clip.alone)
        alone = [fake for fake in alone if fake.video_id in misfits or fake in clip.alone]
    for fake in alone:
        yield _clip(fake, [], recipe)


def _open_video(entry: VideoEntry, open_one: partial[FrameReader], recipe: Recipe, colour: Colour) -> ClipVideo:
    reader = open_one(entry.root, entry.path, colour=colour)
    size = reader.path.stat().st_size if isinstance(reader, VideoReader) else reader.first_bytes
    video = ClipVideo(entry, reader, size)
    if recipe.mask.source != "difference" and entry.mask_path is not None:
        # If it cannot be read, the mask of each frame is recorded as missing.
        with suppress(VideoError):
            video.ground_truth = open_one(entry.root, entry.mask_path, device="cpu")
            if isinstance(video.ground_truth, SequenceReader) or video.is_sequence:
                video.truth_of = _match_numbers(reader, video.ground_truth)
    return video


def open_frames(
    root: str, path: str, recipe: Recipe, resources: ExitStack, *, fetcher: Fetcher | None = None, **options: Any
) -> FrameReader:
    """Open a video or an image sequence of a manifest; `resources` closes it.

    A video that is remote or in an archive is copied to a temporary folder for as long as it is open: FFmpeg reads a
    file several times, from any place. An image sequence is read from where it is.

    Args:
        options: of `VideoReader`.

    Raises:
        VideoError: it cannot be read.
    """
    location = locate(root, path)
    packed = archive_of(location)
    if packed is not None:
        is_images = packed[1] not in archive_at(packed[0])
    else:
        is_images = is_sequence(path) and not Path(location).is_file()  # a video's name may also lack a suffix
    if is_images:
        return resources.enter_context(SequenceReader(root, path))
    if packed is not None:
        location = str(_member_copy(location, resources))
    elif is_url(location):  # a copy is kept as long as its clip is open
        location = str((fetcher or resources.enter_context(Fetcher())).take(location, resources))
    return resources.enter_context(VideoReader(Path(location), recipe.decode, **options))


def _member_copy(location: str, resources: ExitStack) -> Path:
    """A copy of a video in an archive, kept as long as its clip is open."""
    path = resources.enter_context(copies_folder()) / f"video{PurePosixPath(location).suffix[:9]}"
    try:
        with open_file(location) as there, path.open("wb") as local:
            shutil.copyfileobj(there, local)
    except (OSError, ImportError, ValueError, ManifestError) as error:
        reason = reason_of_error(error) or Reason.UNREADABLE
        raise VideoError(reason, f"{location} cannot be read ({error}): download its archive again.") from error
    return path


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


def _match(real: ClipVideo, fake: ClipVideo) -> None:
    """Find the fake's frame for each real frame: by time, or by number if one of them is an image sequence.

    Numbers are taken as they are, unless both are sequences without gaps that begin at about the same number: their
    thumbnails are aligned afterwards like those of videos, since one of them may count from 0 and the other from 1.
    """
    if not (real.is_sequence or fake.is_sequence):
        fake.shown = match_by_time(real.reader.times, fake.reader.times)
        return
    fake.shown = _match_numbers(real.reader, fake.reader)
    readers = real.reader, fake.reader
    complete = [reader for reader in readers if isinstance(reader, SequenceReader) and not reader.has_gaps]
    fake.searched = len(complete) == 2 and abs(complete[0].numbers[0] - complete[1].numbers[0]) <= MAX_OFFSET


def _match_numbers(one: FrameReader, other: FrameReader) -> NDArray[np.int64]:
    """For each frame of one, that of the other with the same number; -1 for none.

    A video's frames are counted from 0, or from 1 if the sequence beside it begins with 1, as those that FFmpeg writes.
    """
    named = [reader.numbers for reader in (one, other) if isinstance(reader, SequenceReader)]
    first = int(named[0][0] == 1)
    numbers = [
        reader.numbers if isinstance(reader, SequenceReader) else np.arange(first, first + reader.info.frame_count)
        for reader in (one, other)
    ]
    return match_by_number(*numbers)


def _clip(lead: ClipVideo, fakes: list[ClipVideo], recipe: Recipe, *, reference: bool = False) -> Clip:
    lead.searched = True  # for cuts, also in a fake that turned out not to follow its original
    later = not lead.is_crops and (recipe.crop.steady or (recipe.crop.around == "mask" and bool(fakes)))
    return Clip(lead, fakes, _sampled(lead, fakes, recipe), reference=reference, crops_later=later)


def _sampled(lead: ClipVideo, fakes: Sequence[ClipVideo], recipe: Recipe) -> NDArray[np.int64]:
    """Sampled frames of the lead, within the span that the lead and its fakes have in common.

    Image sequences may lack any frame: of them, the frames are sampled that all have, unless these are too few.
    """
    shared = np.ones(lead.reader.info.frame_count, np.bool_)
    numbered = any(video.is_sequence for video in (lead, *fakes))
    for fake in fakes:
        both = shared & (fake.shown >= 0) if numbered else fake.shown >= 0
        enough = min(len(shared), recipe.sample.frames or len(shared)) if numbered else len(shared)
        if np.count_nonzero(both) >= SHORT * enough:
            shared &= both
    span = np.flatnonzero(shared)  # of videos, all share the first frame at least
    if not numbered:
        span = np.arange(span[0], span[-1] + 1)
    return span[sample_frames(recipe.sample, len(span), seed=recipe.seed, group_id=lead.video_id)]
