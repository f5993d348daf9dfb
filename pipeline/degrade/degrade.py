"""`facemill degrade`: encodes the videos of a manifest again, in worse qualities, and writes their manifest."""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq

from facemill import ConfigError, VideoError
from facemill.manifests import FailureRecord, Reason, Stage, VideoEntry, locate, write_videos
from facemill.manifests.archives import archive_of
from facemill.manifests.schemas import FAILURES, to_table
from facemill.manifests.sequences import is_sequence
from facemill.manifests.shards.dataset import FAILURES_FILE, VIDEOS_FILE
from facemill.manifests.storage import atomic_path
from facemill.manifests.urls import is_url
from facemill.pipeline.degrade.encode import Degradation, encode_again, is_complete

__all__ = ["MARK", "DegradeReport", "degrade"]

MARK = ".facemill-degrade"
"""File that marks a folder of degraded videos."""
MASKS = "masks"


@dataclass(frozen=True)
class DegradeReport:
    """Result of a degradation.

    Attributes:
        entries: the new manifest's.
        failures: videos that could not be read, with no entry in it.
        skipped: number of files that an earlier run had made.
    """

    entries: list[VideoEntry]
    failures: list[FailureRecord]
    skipped: int


def degrade(
    entries: Sequence[VideoEntry],
    out: Path,
    degradations: Sequence[Degradation],
    *,
    workers: int | None = None,
    on_videos: Callable[[int], None] | None = None,
) -> DegradeReport:
    """Encode each video of a manifest again, once for each degradation.

    `out` gets a folder of videos for each quality, ground-truth masks as they are (a build resizes them to their
    fake's frames), videos.parquet with all qualities (none if all videos fail), and failures.parquet. Pairs, splits,
    labels and subjects are those of the manifest. Another call continues an interrupted one: files that are complete
    and were made of the same source in the same way are kept, and videos that failed are tried again.

    Args:
        workers: videos encoded at the same time, each by one thread; by default the number of processors.
        on_videos: called with the number of videos just done.

    Raises:
        ConfigError: if two degradations are the same, the manifest has a video in two qualities, or videos are behind
            URLs, in archives or image sequences.
    """
    if len({how.quality for how in degradations}) < len(degradations):
        raise ConfigError("A quality is given twice: name each once.")
    if len({_path(entry, degradations[0]) for entry in entries}) < len(entries):
        raise ConfigError("The manifest has videos in several qualities: scan the best one alone.")
    for entry in entries:
        place = locate(entry.root, entry.path)
        elsewhere = is_url(place) or archive_of(place) is not None
        if elsewhere or (is_sequence(entry.path) and not Path(place).is_file()):
            raise ConfigError(f"{place} is no local video file, which alone can be encoded: leave it out or copy it.")
    out = out.absolute()
    for how in degradations:
        (out / how.quality).mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    failures: dict[str, FailureRecord] = {}
    skipped = 0
    with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
        jobs = {threads.submit(_make, entry, out, degradations): entry for entry in entries}
        try:
            for job in as_completed(jobs):
                video_id = jobs[job].video_id
                try:
                    skipped += job.result()
                except VideoError as error:
                    failures[video_id] = FailureRecord(video_id, Stage.DECODE, Reason(error.reason), error.message)
                if on_videos is not None:
                    on_videos(1)
        except BaseException:  # an interruption: what runs is finished, nothing else is begun
            threads.shutdown(cancel_futures=True)
            raise
    made = [entry for entry in entries if entry.video_id not in failures]
    masks = {entry.video_id: _linked_mask(entry, out) for entry in made}
    there = {entry.video_id for entry in made}
    new = [_new_entry(entry, how, out, masks[entry.video_id], there) for how in degradations for entry in made]
    ordered = [failures[entry.video_id] for entry in entries if entry.video_id in failures]
    with atomic_path(out / FAILURES_FILE) as temporary:
        pq.write_table(to_table(ordered, FAILURES), temporary)
    if new:
        write_videos(sorted(new, key=lambda entry: entry.video_id), out / VIDEOS_FILE)
    else:
        (out / VIDEOS_FILE).unlink(missing_ok=True)
    return DegradeReport(new, ordered, skipped)


def _renamed(video_id: str, quality: str, how: Degradation) -> str:
    """A quality is part of ids; to others it is appended."""
    known = f"-{quality}-"
    return video_id.replace(known, f"-{how.quality}-", 1) if known in video_id else f"{video_id}-{how.quality}"


def _path(entry: VideoEntry, how: Degradation) -> str:
    return f"{how.quality}/{_renamed(entry.video_id, entry.quality, how)}.mp4"


def _make(entry: VideoEntry, out: Path, degradations: Sequence[Degradation]) -> int:
    """Make a video's files that are lacking; returns how many were there.

    Raises:
        VideoError: if the video cannot be read.
    """
    source = Path(locate(entry.root, entry.path))
    every = {how: out / _path(entry, how) for how in degradations}
    if not source.is_file():
        raise VideoError(Reason.MISSING_FILE, f"There is no file {source}: check the manifest's root.")
    lacking = {how: path for how, path in every.items() if not is_complete(path, source, how)}
    if lacking:
        encode_again(source, lacking)
    return len(every) - len(lacking)


def _linked_mask(entry: VideoEntry, out: Path) -> str | None:
    """Link a fake's ground-truth mask into the folder, or copy it; None if it has none. A build reports lost files."""
    if entry.mask_path is None:
        return None
    source = Path(locate(entry.root, entry.mask_path))
    path = f"{MASKS}/{entry.video_id}{PurePosixPath(entry.mask_path).suffix}"
    if source.exists() and not (target := out / path).exists():
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            with atomic_path(target) as temporary:
                try:
                    temporary.hardlink_to(source)
                except OSError:  # another file system
                    shutil.copyfile(source, temporary)
    return path


def _new_entry(entry: VideoEntry, how: Degradation, out: Path, mask: str | None, there: set[str]) -> VideoEntry:
    """The entry of a degraded video; a fake whose original failed has none."""
    source = entry.source_id if entry.source_id in there else None
    return replace(
        entry,
        video_id=_renamed(entry.video_id, entry.quality, how),
        source_id=None if source is None else _renamed(source, entry.quality, how),
        quality=how.quality,
        root=str(out),
        path=_path(entry, how),
        mask_path=mask,
        size_bytes=None,
        content_hash=None,
    )
