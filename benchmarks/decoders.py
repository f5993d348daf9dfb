"""Decoder backends against each other: `python -m benchmarks.decoders FOLDER_OR_VIDEOS... [--json FILE]`.

Each way reads the same 32 evenly spaced frames of a video, opening and probing included. A figure is the
time it takes divided by that of the plain way: PyAV, one thread, every picture decoded.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import geometric_mean

import numpy as np

from facemill import VideoError
from pipeline.decode import Frame, VideoReader
from pipeline.decode.probe import probe
from pipeline.decode.pyav import read_with_pyav
from pipeline.decode.source import Deadline
from pipeline.recipe import DecodeSettings

__all__ = ["compare_decoders", "main"]

FRAMES = 32
BASELINE = "pyav, every picture, 1 thread"


def compare_decoders(videos: Sequence[Path], rounds: int = 3) -> dict[str, dict[str, float | None]]:
    """Time of each way to read, by video, relative to `BASELINE`; None where a backend refuses the video.

    The best of `rounds`, which take turns, so that a busy moment of the machine hits all alike.
    """
    return {video.name: _compare(video, rounds) for video in videos}


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
        ways[f"pyav, every picture, {word}"] = partial(_every_picture, video, threads)
        ways[f"pyav, {word}"] = partial(_with_reader, video, DecodeSettings(backend="pyav"), threads)
        ways[f"decord, {word}"] = partial(_with_reader, video, DecodeSettings(backend="decord"), threads)
    return ways


def _every_picture(video: Path, threads: int) -> Iterator[Frame]:
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


def _print(table: dict[str, dict[str, float | None]]) -> None:
    columns = list(next(iter(table.values())))
    letters = dict(zip(columns, "ABCDEFGH", strict=False))
    for name, letter in letters.items():
        print(f"{letter}: {name}")
    print(f"\n{'':28}" + "".join(f"{letter:>8}" for letter in letters.values()))
    for video, row in table.items():
        cells = ("refused" if (ratio := row[name]) is None else f"{ratio:.2f}" for name in columns)
        print(f"{video:28}" + "".join(f"{cell:>8}" for cell in cells))
    given = {name: [ratio for row in table.values() if (ratio := row[name]) is not None] for name in columns}
    print(f"{'geometric mean':28}" + "".join(f"{geometric_mean(given[name]):8.2f}" for name in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="+", help="videos, or folders of videos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file that the table is written to as well")
    options = parser.parse_args()
    videos = [file for path in options.videos for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    table = compare_decoders(videos, options.rounds)
    _print(table)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
