"""The demo corpus: videos of synthetic subjects and their fakes, in the folder layout of FaceForensics++."""

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

__all__ = ["FPS", "VideoEncoder", "make_corpus", "write_splits"]

FPS = 25
_CRF = {"c23": 23, "c40": 40}
_MASK_CRF = 18
_FLICKER = 0.01  # standard deviation of a forged face's brightness from frame to frame, relative


@dataclass(frozen=True)
class _Order:
    """The arguments of `make_corpus`."""

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
    """Make real and forged videos of synthetic subjects, with mask videos and splits, as in FaceForensics++.

    Subjects come in pairs who swap faces. Pairs are split into train, val and test about 70 : 15 : 15, at least
    one each. Equal arguments give equal bytes. The corpus is made in a folder beside `root` that is renamed at the
    end, so that `root` is never incomplete.

    Args:
        root: the folder to make; it may exist if it is empty.
        subjects: number of subjects: an even number from 6 to 1000.
        frames: frames per video, at 25 per second.
        qualities: any of `c23` and `c40`.
        methods: any of `Deepfakes`, `Face2Face`, `FaceSwap`, `NeuralTextures`.
        size: (width, height) of the frames: even numbers, 128 or more, not taller than wide.

    Returns:
        `root`.

    Raises:
        ConfigError: for an invalid argument, a root that is not empty, or if scikit-image is not installed.
    """
    order = _Order(subjects, frames, seed, tuple(qualities), tuple(methods), size)
    _check(root, order)
    load_portrait()  # before the threads start, so that it is computed only once
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    def make_pair(pair: int) -> None:
        both = (_subject(seed, pair, 0), _subject(seed, pair, 1))
        for member in (0, 1):
            _render(partial, order, pair, member, both)

    with ThreadPoolExecutor(max_workers=min(subjects // 2, os.cpu_count() or 1)) as threads:
        list(threads.map(make_pair, range(subjects // 2)))
    write_splits(partial, subjects // 2)
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


def _subject(seed: int, pair: int, member: int) -> Subject:
    """One member of a pair; it does not depend on the number of subjects."""
    lit_member = np.random.default_rng([seed, pair]).integers(2)
    rng = np.random.default_rng([seed, pair, member])
    return create_subject(rng, (seed + pair) % len(TONES), lit=bool(member == lit_member))


def _render(root: Path, order: _Order, pair: int, member: int, subjects: tuple[Subject, Subject]) -> None:
    """Render and encode one subject's video, and the fakes and masks made from it."""
    target, source = f"{2 * pair + member:03d}", f"{2 * pair + 1 - member:03d}"
    scene = Scene(np.random.default_rng([order.seed, pair, member, 1]), subjects[member], order.size, order.frames)
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
                gains = rng.normal(1, _FLICKER, order.frames).clip(0.9, 1.1)
                face = forged_face(method, subjects[1 - member], subjects[member])
                fakes.append((face, offsets, gains, encoder(folder, stem), masks))
        for t in range(order.frames):
            real = scene.frame(t)
            real_out.write(scene.recorded(real, t))
            for face, offsets, gains, fake_out, mask_out in fakes:
                layer = scene.layer(t, face, offsets[t])
                fake_out.write(scene.recorded(blend(layer, real, gains[t]), t))
                mask_out.write(np.where(layer[..., 3] > 127, np.uint8(255), np.uint8(0)))


class VideoEncoder:
    """Encodes a series of images as H.264, at several qualities at once; closed by the stack.

    Args:
        paths: file -> constant rate factor; missing folders are created.
        size: (width, height), both even.
    """

    def __init__(self, paths: dict[Path, int], size: tuple[int, int], stack: ExitStack) -> None:
        self._outputs: list[tuple[Any, Any]] = []  # (container, stream)
        self._numbers = count()
        for path, crf in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            container = stack.enter_context(av.open(str(path), "w"))
            # One thread: videos are encoded in parallel anyway, and the bytes are reproducible.
            options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
            if -(-size[0] // 16) % 8:  # x264 then uses memory that it has not set, in estimating what frames refer to
                options["x264-params"] = "mbtree=0"
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


def write_splits(root: Path, pairs: int) -> None:
    """Write FaceForensics++'s train.json, val.json and test.json, about 70 : 15 : 15, at least one pair each."""
    held_out = max(1, round(0.15 * pairs))
    counts = {"train": pairs - 2 * held_out, "val": held_out, "test": held_out}
    pair = 0
    for split, number in counts.items():
        ids = [[f"{2 * i:03d}", f"{2 * i + 1:03d}"] for i in range(pair, pair + number)]
        (root / f"{split}.json").write_text(json.dumps(ids), "utf-8")
        pair += number
