"""Videos for benchmarks: clip groups of one real 720p video and four fakes, made from a test video if available."""

import os
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.manifests import ClipGroup, VideoEntry
from facemill.pipeline.demo import make_corpus
from facemill.pipeline.demo.corpus import VideoEncoder

__all__ = ["alter", "clip_groups", "source_clip"]

MEDIA = Path(os.environ.get("FACEMILL_TEST_MEDIA", Path(__file__).parents[2] / "shared" / "media"))
SIZE = (1280, 720)
FRAMES = 300
FAKES = 4

Frames = NDArray[np.uint8]  # [N, H, W, 3]


def source_clip(scratch: Path) -> Path:
    """A 720p video of a talking head: a real one if the test media are available, else one of the demo corpus."""
    real = MEDIA / "videos" / "fsgan_shinzo.mp4"
    if real.is_file():
        return real
    corpus = scratch / "demo-720p"
    if not corpus.is_dir():
        make_corpus(corpus, subjects=6, frames=FRAMES, qualities=["c23"], methods=["Deepfakes"], size=SIZE)
    return corpus / "original_sequences" / "youtube" / "c23" / "videos" / "000.mp4"


def clip_groups(
    scratch: Path, count: int, *, size: tuple[int, int] = SIZE, fakes: int = FAKES, frames: int = FRAMES
) -> list[ClipGroup]:
    """Groups of one real video and some fakes, in H.264 (crf 23) of this size and length each; created once."""
    clip = source_clip(scratch)
    folder = scratch / ("clips" if size == SIZE else f"clips-{size[1]}p")
    return [_group(folder, clip, number, size, fakes, frames) for number in range(count)]


def _group(folder: Path, clip: Path, number: int, size: tuple[int, int], fakes: int, length: int) -> ClipGroup:
    names = [f"{number:03d}-{method}" for method in ("real", *(f"fake{n}" for n in range(fakes)))]
    paths = [folder / f"{name}.mp4" for name in names]
    if not all(path.is_file() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        with av.open(str(clip)) as container:
            wanted = islice(container.decode(video=0), 7 * number, 7 * number + length)
            frames = [cv2.resize(frame.to_ndarray(format="rgb24"), size) for frame in wanted]
        real = [frame[:, ::-1].copy() for frame in frames] if number % 2 else frames
        for forgery, path in enumerate(paths):
            _encode(path, size, real if forgery == 0 else [alter(frame, forgery) for frame in real])
    shared = {"dataset": "bench", "quality": "c23", "split": "train", "root": str(folder)}
    videos = [
        VideoEntry(
            video_id=name,
            method=name.partition("-")[2],
            label=int(forgery > 0),
            path=path.name,
            source_id=names[0] if forgery else None,
            **shared,
        )
        for forgery, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    return ClipGroup(videos[0], tuple(videos[1:]))


def alter(frame: NDArray[np.uint8], forgery: int) -> NDArray[np.uint8]:
    """Alter an ellipse in the middle of the image, where a talking head's face is."""
    height, width = frame.shape[:2]
    region = np.zeros((height, width), np.uint8)
    cv2.ellipse(region, (width // 2, int(height * 0.42)), (height // 7, height // 5), 0, 0, 360, 255, cv2.FILLED)
    altered = cv2.add(np.roll(frame, forgery % 3, axis=2), (40.0, 40.0, 40.0, 0.0))
    return np.where(region[..., None] > 0, altered, frame).astype(np.uint8)


def _encode(path: Path, size: tuple[int, int], frames: list[NDArray[np.uint8]]) -> None:
    partial = path.with_suffix(".partial.mp4")
    with ExitStack() as stack:
        encoder = VideoEncoder({partial: 23}, size, stack)
        for frame in frames:
            encoder.write(frame)
    partial.rename(path)
