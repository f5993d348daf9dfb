"""The usual way to prepare videos, and decoding alone.

`python -m benchmarks.usual_way faces|decode OUT PROCESSES FILE...`.

Each video by itself: decord, facenet-pytorch's MTCNN on whole frames one by one, the largest face, PNG files.
"""

import sys
from collections.abc import Iterable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["decode", "load", "prepare", "write_faces"]

FRAMES = 32


def load() -> None:
    """Load facenet-pytorch's MTCNN, once per process, which then runs on one thread."""
    import torch
    from facenet_pytorch import MTCNN

    global _detector
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _detector = MTCNN(keep_all=True, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def prepare(out: Path, file: Path) -> None:
    """Write the crops of evenly spaced frames of a video."""
    import decord

    reader = decord.VideoReader(str(file), num_threads=1)
    wanted = np.linspace(0, len(reader) - 1, FRAMES).round().astype(int).tolist()
    folder = out / file.parent.parent.parent.name / file.stem
    write_faces(folder, ((index, reader[index].asnumpy()) for index in wanted))


def write_faces(folder: Path, frames: Iterable[tuple[int, NDArray[np.uint8]]]) -> None:
    """Detect faces in RGB frames one by one, and write the largest with a margin, 299 x 299, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in frames:
        boxes, _, _ = _detector.detect(image, landmarks=True)
        if boxes is None:
            continue
        x1, y1, x2, y2 = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        half = 1.3 * max(x2 - x1, y2 - y1) / 2
        centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
        left, top = max(0, int(centre_x - half)), max(0, int(centre_y - half))
        face = image[top : int(centre_y + half), left : int(centre_x + half), ::-1]
        cv2.imwrite(str(folder / f"{index:04d}.png"), cv2.resize(face, (299, 299)))


def decode(file: Path) -> None:
    """Decode all frames of a video on one thread by PyAV, and discard them."""
    import av

    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass


def main() -> None:
    what, out, processes, *files = sys.argv[1:]
    work, start = {"faces": (partial(prepare, Path(out)), load), "decode": (decode, None)}[what]
    with get_context("spawn").Pool(int(processes), start) as pool:
        pool.map(work, [Path(file) for file in files], chunksize=1)


if __name__ == "__main__":
    main()
