"""Comparison of decoder backends.

Each method reads the same 32 evenly spaced frames of a video; opening and probing are included. A figure is its time
divided by that of the baseline: PyAV, one thread, all frames decoded.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import geometric_mean

import numpy as np

from benchmarks.row import Row
from facemill import VideoError
from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode import Frame, VideoReader
from facemill.pipeline.decode.probe import probe
from facemill.pipeline.decode.pyav import read_with_pyav
from facemill.pipeline.decode.source import Deadline

__all__ = ["measure"]

FRAMES = 32
BASELINE = "pyav, every frame, 1 thread"


def measure(videos: Sequence[Path], rounds: int = 3) -> list[Row]:
    """Geometric mean over the videos, for each method of reading them.

    The best of `rounds` counts; methods alternate, so that load on the machine affects all of them.
    """
    table = {video.name: _compare(video, rounds) for video in videos}
    rows = []
    for way in next(iter(table.values())):
        ratios = {name: ratio for name, row in table.items() if (ratio := row[way]) is not None}
        refused = [name for name in table if name not in ratios]
        details = f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f} over {len(ratios)} videos"
        details += f"; refuses {', '.join(refused)}" if refused else ""
        rows.append(Row("decoders", f"{way} / {BASELINE}, time", geometric_mean(ratios.values()), details=details))
    return rows


def _compare(video: Path, rounds: int) -> dict[str, float | None]:
    best: dict[str, float | None] = {}
    for _ in range(rounds):
        for name, read in _ways(video).items():
            seconds = _seconds(read)
            earlier = best.get(name)
            best[name] = seconds if seconds is None or earlier is None else min(seconds, earlier)
    base = best[BASELINE]
    if base is None:
        raise SystemExit(f"{video} cannot be read: leave it out.")
    return {name: None if seconds is None else seconds / base for name, seconds in best.items()}


def _ways(video: Path) -> dict[str, Callable[[], Iterator[Frame]]]:
    ways: dict[str, Callable[[], Iterator[Frame]]] = {}
    for threads, word in ((1, "1 thread"), (2, "2 threads")):
        ways[f"pyav, every frame, {word}"] = partial(_every_frame, video, threads)
        ways[f"pyav, {word}"] = partial(_with_reader, video, DecodeSettings(backend="pyav"), threads)
        ways[f"decord, {word}"] = partial(_with_reader, video, DecodeSettings(backend="decord"), threads)
    return ways


def _every_frame(video: Path, threads: int) -> Iterator[Frame]:
    deadline = Deadline(video, 120)
    probed = probe(video, deadline)
    return read_with_pyav(video, probed, _indices(probed.info.frame_count), deadline, threads, skip=False)


def _with_reader(video: Path, settings: DecodeSettings, threads: int) -> Iterator[Frame]:
    reader = VideoReader(video, settings, threads=threads)
    return reader.read(_indices(reader.info.frame_count))


def _indices(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, FRAMES).astype(int).tolist()))


def _seconds(read: Callable[[], Iterator[Frame]]) -> float | None:
    start = time.perf_counter()
    try:
        for _ in read():
            pass
    except VideoError:
        return None
    return time.perf_counter() - start
