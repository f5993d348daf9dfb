"""Forged clips with known regions: a face of one real clip is blended into another, then both are encoded.

Boxes are xyxy in pixels of the composed frames. A pixel counts as forged where more than a quarter of it comes from
the donor (alpha > 0.25): what is blended in by less is a soft edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import facemill.detectors.face
from facemill.masks import FaceForgery, OriginalFrame, find_forgeries

Frames = NDArray[np.uint8]  # [N, H, W, 3] RGB
Kind = Literal["swap", "mouth", "eyes"]

FORGED_ALPHA = 0.25
LONGEST_SIDE = 640  # pixels of a clip as it is loaded, unless told otherwise
_OPTIONS = {"threads": "1", "x264-params": "cpu-independent=1"}
"""Without the second, x264 writes other bytes in each process (seen), and on each processor."""


@dataclass(frozen=True)
class FacedClip:
    """Consecutive or strided frames of a clip that shows one face, with the face in each.

    Attributes:
        frames: uint8 [N, H, W, 3].
        boxes: float64 [N, 4].
        landmarks: float64 [N, 5, 2]: eyes, nose, corners of the mouth.
    """

    frames: Frames
    boxes: NDArray[np.float64]
    landmarks: NDArray[np.float64]


@dataclass(frozen=True)
class ForgedClip:
    """A real clip and a fake made from it, as decoded after encoding.

    Attributes:
        real, fake: uint8 [N, H, W, 3].
        regions: bool [N, H, W], where the fake was forged.
        boxes: float64 [N, P, 4], the faces of P people.
        forged: bool [N, P], who is forged when.
        landmarks: float64 [N, P, 5, 2]; None where they are not known.
    """

    real: Frames
    fake: Frames
    regions: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    forged: NDArray[np.bool_]
    landmarks: NDArray[np.float64] | None = None


@cache
def load_clip(path: Path, count: int = 16, step: int = 2, longest_side: int = LONGEST_SIDE) -> FacedClip:
    """`count` frames of a clip, every `step`-th from the start, and the largest face of each as MTCNN finds it."""
    with av.open(str(path)) as container:
        spaced = islice(container.decode(video=0), 0, count * step, step)
        frames = np.stack([_shrunk(frame.to_ndarray(format="rgb24"), longest_side) for frame in spaced])
    detector = facemill.detectors.face.create("mtcnn", device="cpu", max_side=640)
    faces = [max(found, key=lambda face: face.bbox[3] - face.bbox[1]) for found in detector.detect(frames)]
    boxes = np.stack([face.bbox for face in faces]).astype(float)
    landmarks = np.stack([face.landmarks for face in faces]).astype(float)
    return FacedClip(frames, boxes, landmarks)


def framed(clip: FacedClip, face: float, size: int) -> FacedClip:
    """A steady square window of `size` pixels about the face, in which its box is about `face` pixels high.

    What lies beyond the frame is left out, so that the window may be smaller; its sides are even.
    """
    height, width = clip.frames.shape[1:3]
    corners = np.median(clip.boxes, axis=0)
    scale = face / (corners[3] - corners[1])
    half = size / scale / 2
    x, y = (corners[:2] + corners[2:]) / 2
    left, top = max(round(x - half), 0), max(round(y - half), 0)
    right, bottom = min(round(x + half), width), min(round(y + half), height)
    new_width, new_height = (round((b - a) * scale / 2) * 2 for a, b in ((left, right), (top, bottom)))
    zoom = np.array([new_width / (right - left), new_height / (bottom - top)])
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    windows = clip.frames[:, top:bottom, left:right]
    frames = [cv2.resize(window, (new_width, new_height), interpolation=kind) for window in windows]
    shift = np.array([left, top], float)
    boxes = (clip.boxes.reshape(-1, 2, 2) - shift) * zoom
    return FacedClip(np.stack(frames), boxes.reshape(-1, 4), (clip.landmarks - shift) * zoom)


def forge(
    target: FacedClip,
    donor: FacedClip,
    kind: Kind = "swap",
    *,
    matched: bool = True,
    softness: float = 0.03,
    frames: slice = slice(None),
) -> ForgedClip:
    """Blend the donor's face into the target's frames; nothing is encoded yet.

    Args:
        target: who is forged.
        donor: whose face is taken, frame by frame (repeated if there are fewer).
        kind: the whole face, the mouth, or both eyes.
        matched: whether mean and spread of each colour channel are brought to the target's within the region.
        softness: sigma of the edge, as a share of the face box's height.
        frames: which frames are forged.
    """
    fake = target.frames.copy()
    regions = np.zeros(fake.shape[:3], np.bool_)
    chosen = range(len(fake))[frames]
    for i in chosen:
        j = i % len(donor.frames)
        alpha = _alpha(fake.shape[1:3], target.landmarks[i], kind, softness * (target.boxes[i, 3] - target.boxes[i, 1]))
        matrix, _ = cv2.estimateAffinePartial2D(donor.landmarks[j], target.landmarks[i], method=cv2.LMEDS)
        size = (fake.shape[2], fake.shape[1])
        other = cv2.warpAffine(_antialiased(donor.frames[j], matrix), matrix, size, borderMode=cv2.BORDER_REFLECT)
        colours = _matched(other, fake[i], alpha) if matched else other.astype(np.float32)
        fake[i] = np.rint(fake[i] + (colours - fake[i]) * alpha[..., None]).clip(0, 255)
        regions[i] = alpha > FORGED_ALPHA
    forged = np.zeros((len(fake), 1), np.bool_)
    forged[chosen] = True
    return ForgedClip(target.frames, fake, regions, target.boxes[:, None], forged, target.landmarks[:, None])


def unforged(target: FacedClip) -> ForgedClip:
    """A fake that is the real itself."""
    regions = np.zeros(target.frames.shape[:3], np.bool_)
    nobody = np.zeros((len(regions), 1), np.bool_)
    return ForgedClip(target.frames, target.frames, regions, target.boxes[:, None], nobody, target.landmarks[:, None])


def brightened(clip: ForgedClip, *, contrast: float = 0.95, levels: float = 12) -> ForgedClip:
    """The fake with less contrast (about middle gray) and brighter; fake = contrast * fake + offset."""
    changed = (clip.fake.astype(np.float32) - 128) * contrast + 128 + levels
    return replace(clip, fake=np.rint(changed).clip(0, 255).astype(np.uint8))


def side_by_side(*clips: ForgedClip) -> ForgedClip:
    """Several people in one picture: clips of one height and length, from left to right."""
    shifts = np.cumsum([0] + [clip.real.shape[2] for clip in clips[:-1]])
    boxes = [clip.boxes + np.array([shift, 0, shift, 0]) for clip, shift in zip(clips, shifts, strict=True)]
    known = [clip.landmarks for clip in clips if clip.landmarks is not None]
    return ForgedClip(
        *(np.concatenate([getattr(clip, name) for clip in clips], axis=2) for name in ("real", "fake", "regions")),
        boxes=np.concatenate(boxes, axis=1),
        forged=np.concatenate([clip.forged for clip in clips], axis=1),
        landmarks=np.concatenate(
            [points + np.array([shift, 0]) for points, shift in zip(known, shifts, strict=True)], axis=1
        )
        if len(known) == len(clips)
        else None,
    )


def encoded(clip: ForgedClip, folder: Path, *, real_crf: int, fake_crf: int) -> ForgedClip:
    """The clip after H.264 (real and fake each on its own), written below `folder` and decoded again."""
    real, fake = (
        _through_h264(frames, folder / f"{name}.mp4", crf)
        for name, frames, crf in (("real", clip.real, real_crf), ("fake", clip.fake, fake_crf))
    )
    return replace(clip, real=real, fake=fake)


def _through_h264(frames: Frames, path: Path, crf: int) -> Frames:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=_OPTIONS | {"crf": str(crf)})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def verdicts_of(clip: ForgedClip) -> list[list[FaceForgery]]:
    """By person, then by frame."""
    points = [None] * len(clip.real) if clip.landmarks is None else clip.landmarks
    frames = zip(clip.real, clip.fake, clip.boxes, points, strict=True)
    rows = [OriginalFrame(real, boxes, landmarks=landmarks).measure(fake) for real, fake, boxes, landmarks in frames]
    return [[one for one in find_forgeries(track) if one is not None] for track in zip(*rows, strict=True)]


def _alpha(shape: Sequence[int], landmarks: NDArray[np.float64], kind: Kind, sigma: float) -> NDArray[np.float32]:
    """Opacity [H, W] of the donor: ellipses along the axis from the eyes to the mouth."""
    eyes, mouth = landmarks[:2], landmarks[3:]
    down = mouth.mean(axis=0) - eyes.mean(axis=0)
    length, across = float(np.hypot(*down)), float(np.hypot(*(eyes[1] - eyes[0])))
    angle = float(np.degrees(np.arctan2(down[1], down[0]))) - 90
    width = max(across, 0.8 * length)  # a face in profile has its eyes close together
    ellipses = {
        "swap": [(eyes.mean(axis=0) + 0.5 * down, (1.0 * width, 1.3 * length))],
        "mouth": [(mouth.mean(axis=0), (0.62 * width, 0.42 * length))],
        "eyes": [(eye, (0.36 * width, 0.25 * width)) for eye in eyes],
    }[kind]
    alpha = np.zeros(tuple(shape), np.float32)
    for centre, (half_width, half_height) in ellipses:
        cv2.ellipse(alpha, (tuple(map(float, centre)), (2 * half_width, 2 * half_height), angle), 1.0, cv2.FILLED)
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), max(sigma, 0.3)), np.float32)


def _matched(other: NDArray[np.uint8], target: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    inside = alpha > 0.5
    ours, theirs = other[inside].astype(np.float32), target[inside].astype(np.float32)
    gain = theirs.std(axis=0) / np.maximum(ours.std(axis=0), 1)
    return np.asarray(((other - ours.mean(axis=0)) * gain + theirs.mean(axis=0)).clip(0, 255), np.float32)


def _antialiased(frame: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Blurred as far as the affine shrinks."""
    shrinks = 1 / float(np.hypot(*matrix[:, 0]))
    return frame if shrinks <= 1 else np.asarray(cv2.GaussianBlur(frame, (0, 0), 0.5 * shrinks), np.uint8)


def _shrunk(frame: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    scale = min(1.0, longest_side / max(frame.shape[:2]))
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
