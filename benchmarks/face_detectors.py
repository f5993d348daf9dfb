"""Our MTCNN cascade against `facenet_pytorch.MTCNN.detect` at equal settings, in frames a second.

    python -m benchmarks.face_detectors [--video FILE] [--frames N] [--device cpu|cuda] [--json FILE]

The package is measured in both of its forms, frame by frame and in batches; the ratio is to the
better one. Each form is run several times in turn, and its fastest run counts.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN as PackageMTCNN  # noqa: N811
from numpy.typing import NDArray

import detectors.face

__all__ = ["measure"]

Frames = Sequence[NDArray[np.uint8]]

MEDIA = Path(os.environ.get("FACEMILL_TEST_MEDIA", Path(__file__).parents[2] / "shared" / "media"))
BATCH = 8
ROUNDS = 5


def measure(frames: Frames, *, device: str, threads: int, max_side: int | None) -> dict[str, object]:
    """Time both detectors on the same frames; one row of the table."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    ours = detectors.face.create("mtcnn", device=device, max_side=max_side, min_score=0.0)
    package = PackageMTCNN(keep_all=True, device=torch.device(device))
    forms: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.detect(frames),
        "package_single": lambda: [package.detect(_shrink(frame, max_side), landmarks=True) for frame in frames],
        "package_batched": lambda: [
            package.detect(np.stack([_shrink(frame, max_side) for frame in frames[i : i + BATCH]]), landmarks=True)
            for i in range(0, len(frames), BATCH)
        ],
    }
    seconds = _fastest(forms, device)
    rates = {name: len(frames) / value for name, value in seconds.items()}
    better = max(rates["package_single"], rates["package_batched"])
    height, width = frames[0].shape[:2]
    return {
        "device": device,
        "threads": threads,
        "frame": f"{width}x{height}",
        "max_side": max_side,
        **{f"{name}_fps": round(rate, 1) for name, rate in rates.items()},
        "ratio": round(rates["ours"] / better, 2),
    }


def _fastest(forms: dict[str, Callable[[], object]], device: str) -> dict[str, float]:
    seconds = dict.fromkeys(forms, float("inf"))
    for _ in range(ROUNDS):
        for name, run in forms.items():
            start = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def _shrink(frame: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    scale = (max_side or max(height, width)) / max(height, width)
    if scale >= 1:
        return frame
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _read(video: Path, count: int) -> list[NDArray[np.uint8]]:
    with av.open(str(video)) as container:
        spaced = islice(container.decode(video=0), 0, 10 * count, 10)
        return [frame.to_ndarray(format="rgb24") for frame in spaced]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, default=MEDIA / "videos" / "fsgan_shinzo.mp4")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    frames = _read(options.video, options.frames)
    thread_counts = (1, 2) if options.device == "cpu" else (1,)
    rows = [
        measure(frames, device=options.device, threads=threads, max_side=max_side)
        for threads in thread_counts
        for max_side in (None, 640)
    ]
    print(*rows[0], sep="\t")
    for row in rows:
        print(*row.values(), sep="\t")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
