"""Our MTCNN cascade compared with `facenet_pytorch.MTCNN.detect` at equal settings, and small faces found.

The package is measured both frame by frame and in batches; the ratio is to the faster of the two. All variants are
run several times in turn, and the fastest run of each counts.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN as PackageMTCNN  # noqa: N811
from numpy.typing import NDArray

import facemill.detectors.face
from benchmarks.clips import MEDIA
from benchmarks.row import Row
from facemill.detectors.face import Face
from facemill.detectors.face.retinaface import RetinaFace
from facemill.detectors.face.retinaface_resnet50 import ResNet50RetinaFace
from tests.composed.people import small_faces

__all__ = ["measure"]

Frames = Sequence[NDArray[np.uint8]]

FRAMES = 16
BATCH = 8
ROUNDS = 5
MIN_FACE = 40.0  # pixels, the default of `filter.min_face`


def measure(clip: Path, *, device: str) -> list[Row]:
    """Compare both on frames of a video, at full size and shrunk, by number of threads."""
    frames = _read(clip, FRAMES)
    return (
        [
            _compare(frames, device=device, threads=threads, max_side=max_side)
            for threads in ((1, 2) if device == "cpu" else (1,))
            for max_side in (None, 640)
        ]
        + ([_retinaface(frames, device)] if device != "cpu" else [])
        + _small_faces(device)
    )


def _retinaface(frames: Frames, device: str) -> Row:
    """RetinaFace on ResNet-50 and retina-face's own function, which takes one frame, on the same random weights.

    No face scores 0.9 then: the time is that of resizing, copying and the network.
    """
    from retinaface.model import retinaface_pth_model
    from retinaface.RetinaFace import detect_faces

    torch.manual_seed(0)
    network = retinaface_pth_model.RetinaFace().to(device).eval()

    def package(image: torch.Tensor) -> list[torch.Tensor]:
        return [output.cpu() for output in network(image.to(device))]

    ours = RetinaFace(ResNet50RetinaFace(network), device=device)
    forms: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.detect(frames),
        "retina-face": lambda: [detect_faces(frame[..., ::-1], model=package) for frame in frames],
    }
    seconds = _fastest(forms, device)
    height, width = frames[0].shape[:2]
    return Row(
        benchmark="detectors",
        what=f"RetinaFace R50, ours / retina-face, frames/s, {width}x{height}, {device}",
        ratio=seconds["retina-face"] / seconds["ours"],
        details=", ".join(f"{name} {len(frames) / value:.1f}" for name, value in seconds.items()),
    )


def _small_faces(device: str) -> list[Row]:
    """Small faces of composed 1080p frames: what the limit from `min_face` finds and costs, beside no limit and 640."""
    if not MEDIA.is_dir():
        return []
    torch.set_num_threads(1)
    frames = [small_faces(MEDIA, seed) for seed in range(4)]
    detectors: dict[str, dict[str, Any]] = {"mtcnn": {}}
    weights = MEDIA.parent / "weights" / "mobilenet0.25_Final.pth"
    if weights.is_file():
        detectors["retinaface"] = {"variant": "mobilenet0.25", "weights": str(weights)}
    limits: tuple[dict[str, float | None], ...] = ({"min_face": MIN_FACE}, {}, {"max_side": 640})
    rows = []
    for name, options in detectors.items():
        ours, full, fixed = (
            facemill.detectors.face.create(name, device=device, **options, **limit) for limit in limits
        )
        forms = {"by min_face": ours, "full size": full, "640": fixed}
        seconds = _fastest({form: partial(one.detect, frames) for form, one in forms.items()}, device)
        found = {form: _wide(one.detect(frames)) for form, one in forms.items()}
        rows.append(
            Row(
                benchmark="detectors",
                what=f"{name}, faces >= {MIN_FACE:.0f} pixels found in 1080p, limit by min_face / full size, {device}",
                ratio=found["by min_face"] / found["full size"],
                target=">= 0.97",
                details=", ".join(
                    f"{form}: {found[form]} faces, {1000 * seconds[form] / len(frames):.0f} ms a frame"
                    for form in forms
                ),
            )
        )
    return rows


def _wide(found: Sequence[Sequence[Face]]) -> int:
    return sum(float(min(face.bbox[2:] - face.bbox[:2])) >= MIN_FACE for faces in found for face in faces)


def _compare(frames: Frames, *, device: str, threads: int, max_side: int | None) -> Row:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    ours = facemill.detectors.face.create("mtcnn", device=device, max_side=max_side, min_score=0.0)
    package = PackageMTCNN(keep_all=True, device=torch.device(device))
    forms: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.detect(frames),
        "one by one": lambda: [package.detect(_shrink(frame, max_side), landmarks=True) for frame in frames],
        "in batches": lambda: [
            package.detect(np.stack([_shrink(frame, max_side) for frame in frames[i : i + BATCH]]), landmarks=True)
            for i in range(0, len(frames), BATCH)
        ],
    }
    seconds = _fastest(forms, device)
    rates = {name: len(frames) / value for name, value in seconds.items()}
    height, width = frames[0].shape[:2]
    size = f"{width}x{height}" + (f" shrunk to {max_side}" if max_side else "")
    return Row(
        benchmark="detectors",
        what=f"MTCNN, ours / facenet-pytorch, frames/s, {size}, {threads} thread{'s' * (threads > 1)}, {device}",
        ratio=rates["ours"] / max(rates["one by one"], rates["in batches"]),
        target=">= 2" if device == "cpu" else ">= 5",
        details=", ".join(f"{name} {rate:.1f}" for name, rate in rates.items()),
    )


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
