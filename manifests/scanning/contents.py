"""Sizes and hashes of videos, read in parallel: they reveal damaged and duplicate downloads before a run."""

import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import xxhash

from facemill import ManifestError
from facemill.manifests.archives import DAMAGE, archive_of, open_archive, open_file, read_archive
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import is_image, list_files, locate
from facemill.manifests.scanning.scan_report import ScanReport
from facemill.manifests.sequences import is_sequence
from facemill.manifests.urls import answered, is_url

__all__ = ["Change", "add_contents", "find_changed", "read_contents", "size_of"]

_THREADS = 8
_CHUNK = 2**20  # bytes read at once
OnVideos = Callable[[int], object]
"""Called with the number of videos just read."""


@dataclass(frozen=True, slots=True)
class Content:
    """Size and hash of a video's bytes; for an image sequence, of its images and their names."""

    size: int
    hash: str


@dataclass(frozen=True, slots=True)
class Change:
    """A video that differs from its manifest entry.

    Attributes:
        what: the difference, without a full stop.
    """

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}."


def read_contents(entries: Sequence[VideoEntry], *, on_videos: OnVideos = lambda _: None) -> list[Content | None]:
    """Read the content of each video, in order; None for a missing or unreadable one.

    An archive is read once for all that is in it.
    """
    places = [locate(entry.root, entry.path) for entry in entries]
    jobs: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for position, place in enumerate(places):
        packed = archive_of(place)
        jobs[place if packed is None else packed[0], packed is not None].append(position)
    contents: list[Content | None] = [None] * len(entries)
    with ThreadPoolExecutor(_THREADS) as pool:
        running: dict[Future[dict[str, Content]], list[int]] = {
            pool.submit(_read, place, is_packed): positions for (place, is_packed), positions in jobs.items()
        }
        try:
            for done in as_completed(running):
                positions, found = running[done], done.result()
                for position in positions:
                    contents[position] = found.get(places[position])
                on_videos(len(positions))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # stop reading when interrupted
            raise
    return contents


def add_contents(report: ScanReport, *, on_videos: OnVideos = lambda _: None) -> None:
    """Add size and hash to every entry; report videos that are empty, unreadable, or identical to another one."""
    contents = read_contents(report.entries, on_videos=on_videos)
    seen: set[str] = set()
    hashed = []
    for entry, content in zip(report.entries, contents, strict=True):
        if content is None:
            report.unreadable.append(entry.path)
            hashed.append(entry)
            continue
        if content.size == 0:
            report.empty.append(entry.path)
        elif content.hash in seen:
            report.identical.append(entry.path)
        seen.add(content.hash)
        hashed.append(replace(entry, size_bytes=content.size, content_hash=content.hash))
    report.entries = hashed


def find_changed(entries: Sequence[VideoEntry], *, on_videos: OnVideos = lambda _: None) -> list[Change]:
    """Re-read the videos, and list those that are missing or have changed since they were hashed.

    Raises:
        ManifestError: the manifest has no hashes.
    """
    if unhashed := [entry for entry in entries if entry.content_hash is None]:
        raise ManifestError(f"{len(unhashed)} of {len(entries)} videos have no hash to compare with: scan with --hash.")
    changes = []
    for entry, content in zip(entries, read_contents(entries, on_videos=on_videos), strict=True):
        if content is None:
            changes.append(Change(entry.path, "it is missing or unreadable"))
        elif content.size != entry.size_bytes:
            changes.append(Change(entry.path, f"it has {content.size} bytes instead of {entry.size_bytes}"))
        elif content.hash != entry.content_hash:
            changes.append(Change(entry.path, f"it hashes to {content.hash} instead of {entry.content_hash}"))
    return changes


def size_of(entry: VideoEntry) -> int | None:
    """Size of a video's file, bytes; None for an image sequence, which is not a file.

    Raises:
        OSError: the file is missing.
        ManifestError: its archive is missing or damaged.
    """
    if is_sequence(entry.path):
        return None
    if entry.size_bytes is not None:
        return entry.size_bytes
    place = locate(entry.root, entry.path)
    if (packed := archive_of(place)) is not None:
        return open_archive(packed[0]).size(packed[1])
    if not is_url(place):
        return Path(place).stat().st_size
    with answered(place) as (filesystem, path):
        return int(filesystem.size(path))


def _read(place: str, is_archive: bool) -> dict[str, Content]:
    """Contents by place: of one file, of a folder of images, or of all files and folders of images in an archive."""
    try:
        if is_archive:
            return _read_archive(place)
        if _is_folder(place):
            return {place: _of_images(_read_folder(place))}
        with open_file(place) as file:
            return {place: _hash(file)}
    except (*DAMAGE, ManifestError):
        return {}


def _is_folder(place: str) -> bool:
    if not is_url(place):
        return Path(place).is_dir()
    with answered(place) as (filesystem, path):
        return bool(filesystem.isdir(path))


def _read_folder(folder: str) -> Iterator[tuple[str, Content]]:
    for name in list_files(folder).paths:
        if is_image(name):
            with open_file(locate(folder, name)) as file:
                yield name, _hash(file)


def _read_archive(archive: str) -> dict[str, Content]:
    contents: dict[str, Content] = {}
    sequences: dict[str, list[tuple[str, Content]]] = defaultdict(list)
    damaged = set()
    for name, file in read_archive(archive):
        folder, own = posixpath.split(name)
        try:
            contents[locate(archive, name)] = content = _hash(file)
        except DAMAGE:  # this member alone
            damaged.add(folder)
            continue
        if is_image(name):
            sequences[folder].append((own, content))
    whole = {folder: images for folder, images in sequences.items() if folder not in damaged}
    return contents | {locate(archive, folder): _of_images(images) for folder, images in whole.items()}


def _of_images(images: Iterable[tuple[str, Content]]) -> Content:
    """Independent of the order of the images, so that a sequence on disk equals the same one in an archive."""
    ordered = sorted(images, key=lambda image: image[0])
    listed = "\n".join(f"{name} {content.hash}" for name, content in ordered)
    digest = xxhash.xxh3_128(listed.encode()).hexdigest()
    return Content(sum(content.size for _, content in ordered), f"xxh3:{digest}")


def _hash(file: IO[bytes]) -> Content:
    digest, size = xxhash.xxh3_128(), 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return Content(size, f"xxh3:{digest.hexdigest()}")
