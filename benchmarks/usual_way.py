"""The usual way to prepare videos, and decoding alone.

`python -m benchmarks.usual_way faces|decode OUT PROCESSES FILE...`.

Each video by itself: decord, facenet-pytorch's MTCNN on whole frames one by one, the largest face, PNG files.
"""

import sys
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["cropped", "decode", "prepare"]

FRAMES = 32


def _load() -> None:
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
    folder = out / file.parent.parent.parent.name / file.stem
    folder.mkdir(parents=True, exist_ok=True)
    for index in np.linspace(0, len(reader) - 1, FRAMES).round().astype(int).tolist():
        image = reader[index].asnumpy()
        boxes, _, _ = _detector.detect(image, landmarks=True)
        if boxes is not None:
            cv2.imwrite(str(folder / f"{index:04d}.png"), cropped(image[..., ::-1], boxes))


def cropped(image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The largest face with a margin of 0.3, [299, 299, 3]."""
    x1, y1, x2, y2 = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    half = 1.3 * max(x2 - x1, y2 - y1) / 2
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = max(0, int(centre_x - half)), max(0, int(centre_y - half))
    return cv2.resize(image[top : int(centre_y + half), left : int(centre_x + half)], (299, 299))


def decode(out: Path, file: Path) -> None:
    """Decode all frames of a video on one thread by PyAV, and discard them."""
    import av

    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass


def main() -> None:
    what, out, processes, *files = sys.argv[1:]
    work, start = {"faces": (prepare, _load), "decode": (decode, None)}[what]
    with get_context("spawn").Pool(int(processes), start) as pool:
        pool.map(partial(work, Path(out)), [Path(file) for file in files], chunksize=1)


if __name__ == "__main__":
    main()
