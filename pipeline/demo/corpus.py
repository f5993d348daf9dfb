"""The demo corpus: subjects, their videos and their fakes, in the folders of FaceForensics++."""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemill import ConfigError
from facemill.pipeline.demo.encoder import VideoEncoder
from facemill.pipeline.demo.forgery import METHODS, forge
from facemill.pipeline.demo.looks import TONES
from facemill.pipeline.demo.portrait import load_portrait
from facemill.pipeline.demo.scene import create_scene
from facemill.pipeline.demo.subject import Subject, create_subject

__all__ = ["make_corpus"]

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
    return create_subject(rng, TONES[(seed + pair) % len(TONES)], dim=bool(member == dim_member))


def _film(root: Path, order: _Order, pair: int, member: int, persons: tuple[Subject, Subject]) -> None:
    """Render and encode one person's video, and the fakes and masks made from it."""
    target, source = f"{2 * pair + member:03d}", f"{2 * pair + 1 - member:03d}"
    scene_rng = np.random.default_rng([order.seed, pair, member, 1])
    scene = create_scene(scene_rng, persons[member], order.size, order.frames)
    with ExitStack() as stack:

        def encoder(folder: Path, stem: str) -> VideoEncoder:
            paths = {folder / quality / "videos" / f"{stem}.mp4": _CRF[quality] for quality in order.qualities}
            return stack.enter_context(VideoEncoder(paths, order.size))

        real_out = encoder(root / "original_sequences" / "youtube", target)
        outputs = []
        for number, (name, method) in enumerate(METHODS.items()):
            if name in order.methods:
                folder, stem = root / "manipulated_sequences" / name, f"{target}_{source}"
                masks = VideoEncoder({folder / "masks" / "videos" / f"{stem}.mp4": _MASK_CRF}, order.size)
                rng = np.random.default_rng([order.seed, pair, member, 2 + number])
                forgery = forge(rng, method, persons[1 - member], scene)
                outputs.append((forgery, encoder(folder, stem), stack.enter_context(masks)))
        for t in range(order.frames):
            real = scene.frame(t)
            real_out.write(real)
            for forgery, fake_out, mask_out in outputs:
                fake, mask = forgery.apply(t, real)
                fake_out.write(fake)
                mask_out.write(mask)


def _write_splits(root: Path, pairs: int) -> None:
    held_out = max(1, round(0.15 * pairs))
    counts = {"train": pairs - 2 * held_out, "val": held_out, "test": held_out}
    pair = 0
    for split, count in counts.items():
        ids = [[f"{2 * i:03d}", f"{2 * i + 1:03d}"] for i in range(pair, pair + count)]
        (root / f"{split}.json").write_text(json.dumps(ids), "utf-8")
        pair += count
