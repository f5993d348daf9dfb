"""Files of FaceForensics++'s shape: groups of an original and four fakes, c23, of its two commonest sizes and lengths.

Half are 640x480 with 751 frames at about 600 kbit/s, half 1280x720 with 338 frames at about 900 kbit/s. People are
those of the test media (real fakes of one, altered faces of the others) if these are available, and of the demo corpus.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import MEDIA, alter
from facemill.pipeline.demo import make_corpus
from facemill.pipeline.demo.corpus import write_splits

__all__ = ["make_files"]

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
SHAPES = (((640, 480), 751, 600_000), ((1280, 720), 338, 900_000))  # size, frames, bits per second

Frame = NDArray[np.uint8]  # RGB [H, W, 3]


def make_files(root: Path, groups: int) -> Path:
    """Make `groups` groups, an even number from 6, in FaceForensics++'s folders; made once, below `root`."""
    partial = root.with_name(f"{root.name}.partial")
    if not root.is_dir():
        for number in range(groups):
            size, frames, rate = SHAPES[number % 2]
            _make_group(partial, number, size, frames, rate)
        write_splits(partial, groups // 2)
        partial.rename(root)
    return root


def _make_group(root: Path, number: int, size: tuple[int, int], frames: int, rate: int) -> None:
    name, other = f"{number:03d}", f"{number ^ 1:03d}"
    paths = [root / "original_sequences" / "youtube" / "c23" / "videos" / f"{name}.mp4"]
    fakes = root / "manipulated_sequences"
    paths += [fakes / method / "c23" / "videos" / f"{name}_{other}.mp4" for method in METHODS]
    with ExitStack() as stack:
        outputs = [_Encoder(path, size, rate, stack) for path in paths]
        for images in islice(_people(root, number, size), 5 * number, 5 * number + frames):
            for output, image in zip(outputs, images, strict=True):
                output.write(image[:, ::-1] if number % 4 > 1 else image)


def _people(root: Path, number: int, size: tuple[int, int]) -> Iterator[list[Frame]]:
    """An original's frames with those of its four fakes, without end, forwards and backwards."""
    real = MEDIA / "videos" / ("fsgan_shinzo.mp4" if number % 4 > 1 else "fsgan_conan.mp4")
    if number % 3 == 2 or not real.is_file():
        demo = root.with_name(f"{root.name}-demo-{size[1]}")
        if not demo.is_dir():
            make_corpus(demo, subjects=6, frames=100, qualities=["c23"], methods=METHODS, size=size)
        name = f"{number % 6:03d}"
        files = [demo / "original_sequences" / "youtube" / "c23" / "videos" / f"{name}.mp4"]
        files += [
            next((demo / "manipulated_sequences" / method / "c23" / "videos").glob(f"{name}_*")) for method in METHODS
        ]
        made = 0
    elif size == (640, 480) and number % 3 == 0:
        files = [MEDIA / "pairs" / f"ghost_{which}.mp4" for which in ("real", "fake_elon", "fake_mark")]
        made = 2
    else:
        files, made = [real], 4
    while True:
        yield from (
            [*images, *(alter(images[0], forgery) for forgery in range(made))] for images in _frames(files, size)
        )


def _frames(files: list[Path], size: tuple[int, int]) -> Iterator[list[Frame]]:
    """Frames of several videos at the same time, scaled to cover the size; all of them, and then backwards."""
    with ExitStack() as stack:
        opened = [stack.enter_context(av.open(str(file))) for file in files]
        shown = [
            [_fit(frame.to_ndarray(format="rgb24"), size) for frame in frames]
            for frames in zip(*(islice(video.decode(video=0), 100) for video in opened), strict=False)
        ]
    yield from shown
    yield from reversed(shown)


def _fit(image: Frame, size: tuple[int, int]) -> Frame:
    width, height = size
    scale = max(width / image.shape[1], height / image.shape[0])
    scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = (scaled.shape[0] - height) // 3, (scaled.shape[1] - width) // 2
    return scaled[top : top + height, left : left + width]


class _Encoder:
    """H.264 at a mean bit rate, 25 frames per second; closed by the stack."""

    def __init__(self, path: Path, size: tuple[int, int], rate: int, stack: ExitStack) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = stack.enter_context(av.open(str(path), "w"))
        self._stream = self._container.add_stream("libx264", rate=25, options={"preset": "medium"})
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt, self._stream.bit_rate = "yuv420p", rate
        self._count = 0
        stack.callback(lambda: self._container.mux(self._stream.encode(None)))

    def write(self, image: Frame) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = self._count, Fraction(1, 25)
        self._count += 1
        self._container.mux(self._stream.encode(frame))
