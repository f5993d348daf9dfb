"""The demo corpus: subjects, their videos and their fakes, in the folders of FaceForensics++."""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from facemill import ConfigError
from facemill.pipeline.demo.portrait import load_portrait
from facemill.pipeline.demo.scene import METHODS, Scene, blend, forged_face
from facemill.pipeline.demo.subject import TONES, Subject, create_subject

__all__ = ["FPS", "VideoEncoder", "make_corpus"]

FPS = 25
_CRF = {"c23": 23, "c40": 40}
_MASK_CRF = 18


@dataclass(frozen=True)
class _Order:
    """What `make_corpus` was asked for."""

    subjects: int
    frames: int
    seed: int
    qualities: tuple[str, ...]
    methods: tuple[str, ...]
    size: tuple[int, int]


def make_corpus(
    root: Path,
    *,
    subjects: int = 8,
    frames: int = 60,
    seed: int = 0,
    qualities: Sequence[str] = ("c23", "c40"),
    methods: Sequence[str] = ("Deepfakes", "FaceSwap"),
    size: tuple[int, int] = (640, 360),
) -> Path:
    """Make real and forged videos of invented persons, with mask videos and splits, as FaceForensics++ has them.

    Subjects come in pairs, each of whom gets the other's face. Pairs are split between train, val and
    test about 70 : 15 : 15, at least one each. Equal arguments give equal bytes. The corpus is made beside `root`
    and then renamed, so that `root` is whole wherever it exists.

    Args:
        root: the folder to make; it may exist if it is empty.
        subjects: how many persons: an even number from 6 to 1000.
        frames: length of each video, 25 a second.
        qualities: of `c23` and `c40`.
        methods: of `Deepfakes`, `Face2Face`, `FaceSwap`, `NeuralTextures`.
        size: (width, height) of the frames: even numbers, 128 or more, not upright.

    Returns:
        `root`.

    Raises:
        ConfigError: for a bad argument, a root that is not empty, or if scikit-image is not installed.
    """
    order = _Order(subjects, frames, seed, tuple(qualities), tuple(methods), size)
    _check(root, order)
    load_portrait()  # before the threads start, so that it is cut out once
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    def make_pair(pair: int) -> None:
        persons = (_person(seed, pair, 0), _person(seed, pair, 1))
        for member in (0, 1):
            _film(partial, order, pair, member, persons)

    with ThreadPoolExecutor(max_workers=min(subjects // 2, os.cpu_count() or 1)) as threads:
        list(threads.map(make_pair, range(subjects // 2)))
    _write_splits(partial, subjects // 2)
    partial.rename(root)
    return root


def _check(root: Path, order: _Order) -> None:
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise ConfigError(f"The demo corpus needs a folder of its own, and {root} is not empty: name another folder.")
    if order.subjects % 2 or not 6 <= order.subjects <= 1000:
        raise ConfigError(f"Demo subjects come in pairs, one for each split at least: 6, 8, …, not {order.subjects}.")
    if order.frames < 1:
        raise ConfigError(f"A demo video needs at least one frame, not {order.frames}.")
    width, height = order.size
    if width % 2 or height % 2 or not 128 <= height <= width:
        raise ConfigError(f"Demo videos have even sides, 128 or more, and are not upright: not {width}x{height}.")
    for what, names, known in (("quality", order.qualities, list(_CRF)), ("method", order.methods, list(METHODS))):
        if not names or not set(names) <= set(known):
            raise ConfigError(
                f"The demo cannot make {what} {', '.join(names) or '(none)'}: choose from {', '.join(known)}."
            )


def _person(seed: int, pair: int, member: int) -> Subject:
    """The subject of a place; the same however many others there are."""
    dim_member = np.random.default_rng([seed, pair]).integers(2)
    rng = np.random.default_rng([seed, pair, member])
    return create_subject(rng, (seed + pair) % len(TONES), dim=bool(member == dim_member))


def _film(root: Path, order: _Order, pair: int, member: int, persons: tuple[Subject, Subject]) -> None:
    """Render and encode one person's video, and the fakes and masks made from it."""
    target, source = f"{2 * pair + member:03d}", f"{2 * pair + 1 - member:03d}"
    scene = Scene(np.random.default_rng([order.seed, pair, member, 1]), persons[member], order.size, order.frames)
    with ExitStack() as stack:

        def encoder(folder: Path, stem: str) -> VideoEncoder:
            paths = {folder / quality / "videos" / f"{stem}.mp4": _CRF[quality] for quality in order.qualities}
            return VideoEncoder(paths, order.size, stack)

        real_out = encoder(root / "original_sequences" / "youtube", target)
        fakes = []
        for number, (name, method) in enumerate(METHODS.items()):
            if name in order.methods:
                folder, stem = root / "manipulated_sequences" / name, f"{target}_{source}"
                masks = VideoEncoder({folder / "masks" / "videos" / f"{stem}.mp4": _MASK_CRF}, order.size, stack)
                rng = np.random.default_rng([order.seed, pair, member, 2 + number])
                offsets = rng.normal(0, method.jitter, (order.frames, 2))
                gains = rng.normal(1, method.flicker, order.frames).clip(0.9, 1.1)
                face = forged_face(method, persons[1 - member], persons[member])
                fakes.append((face, offsets, gains, encoder(folder, stem), masks))
        for t in range(order.frames):
            real = scene.frame(t)
            real_out.write(real)
            for face, offsets, gains, fake_out, mask_out in fakes:
                layer = scene.layer(t, face, offsets[t])
                fake_out.write(blend(layer, real, gains[t]))
                mask_out.write(np.where(layer[..., 3] > 127, np.uint8(255), np.uint8(0)))


class VideoEncoder:
    """H.264 of one sequence of images, at several qualities at once; closed by the stack.

    Args:
        paths: file -> constant rate factor; folders are made.
        size: (width, height), both even.
    """

    def __init__(self, paths: dict[Path, int], size: tuple[int, int], stack: ExitStack) -> None:
        self._outputs: list[tuple[Any, Any]] = []  # (container, stream)
        self._numbers = count()
        for path, crf in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            container = stack.enter_context(av.open(str(path), "w"))
            # One thread: the videos themselves are encoded side by side, and the bytes never vary.
            options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            self._outputs.append((container, stream))
        stack.callback(self._flush)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append an image: uint8 RGB [H, W, 3] or gray [H, W]."""
        frame = av.VideoFrame.from_ndarray(image, format="gray" if image.ndim == 2 else "rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = next(self._numbers), Fraction(1, FPS)
        for container, stream in self._outputs:
            container.mux(stream.encode(frame))

    def _flush(self) -> None:
        for container, stream in self._outputs:
            container.mux(stream.encode(None))


def _write_splits(root: Path, pairs: int) -> None:
    held_out = max(1, round(0.15 * pairs))
    counts = {"train": pairs - 2 * held_out, "val": held_out, "test": held_out}
    pair = 0
    for split, number in counts.items():
        ids = [[f"{2 * i:03d}", f"{2 * i + 1:03d}"] for i in range(pair, pair + number)]
        (root / f"{split}.json").write_text(json.dumps(ids), "utf-8")
        pair += number
