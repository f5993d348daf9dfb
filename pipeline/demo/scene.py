"""A subject before a camera: how they move, and what each frame shows."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.demo.portrait import INNER_LIPS, JAW, LIPS, NOSE, PATCH_SCALE, PATCH_SIZE, FloatArray
from facemill.pipeline.demo.subject import Subject
from facemill.pipeline.demo.texture import background
from facemill.pipeline.demo.warp import displacement

__all__ = ["Scene", "View", "create_scene"]

Frame = NDArray[np.uint8]

_FRAME_HEIGHT = 360  # the frame height that the sizes below are given for
_HEAD_CENTRE = np.array([226, 115]) * PATCH_SCALE  # patch


@dataclass(frozen=True)
class View:
    """A window of one frame, and the patch pixel that each of its pixels shows.

    Attributes:
        left, top: of the window, pixels of the frame.
        x, y: float32 [h, w], pixels of the patch.
    """

    left: int
    top: int
    x: FloatArray
    y: FloatArray

    def sample(self, patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the window shows of a patch [PATCH_SIZE, PATCH_SIZE(, C)]; nothing (0) lies outside of it."""
        return np.asarray(cv2.remap(patch, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.uint8)


@dataclass(frozen=True)
class Scene:
    """One pristine video.

    Attributes:
        subject: who is seen.
        size: (width, height) of the frames.
        wall: background, uint8 RGB [H, W, 3].
        poses: affines patch -> frame, one a frame, [T, 2, 3].
        expressions: how far each of `movements` is carried, one row a frame, [T, 3].
        movements: displacement fields that turn, nod and talk, [3, h, w, 2].
        grain: sensor noise, int8 [H + 64, W + 64], shown with another shift in every frame.
        grain_shifts: (x, y) in 0..63, one a frame, [T, 2].
    """

    subject: Subject
    size: tuple[int, int]
    wall: Frame
    poses: NDArray[np.float64]
    expressions: FloatArray
    movements: FloatArray
    grain: NDArray[np.int8]
    grain_shifts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.poses)

    @cached_property
    def _patch(self) -> NDArray[np.uint8]:
        rgba = np.dstack([self.subject.image, self.subject.alpha])
        return np.rint(rgba * 255).astype(np.uint8)

    def view(self, t: int, window: tuple[int, int, int, int] | None = None, *, liveliness: float = 1.0) -> View:
        """Where a window (left, top, right, bottom) of frame t, or all of it, looks in the patch.

        Args:
            liveliness: factor on the subject's expression.
        """
        left, top, right, bottom = window or (0, 0, *self.size)
        moved = np.tensordot(self.expressions[t] * np.float32(liveliness), self.movements, axes=1)  # [h, w, 2]
        coarse = PATCH_SIZE / moved.shape[0]
        centres = np.array([[coarse, 0, coarse / 2 - 0.5], [0, coarse, coarse / 2 - 0.5], [0, 0, 1]])
        to_window = self.poses[t] - np.array([[0, 0, left], [0, 0, top]])  # patch -> window
        shift = cv2.warpAffine(moved.astype(np.float32), to_window @ centres, (right - left, bottom - top))
        (a, b, c), (d, e, f) = cv2.invertAffineTransform(to_window).astype(np.float32)
        x, y = np.arange(right - left, dtype=np.float32), np.arange(bottom - top, dtype=np.float32)[:, None]
        return View(left, top, a * x + (b * y + c) + shift[..., 0], d * x + (e * y + f) + shift[..., 1])

    def frame(self, t: int) -> Frame:
        """Frame t as the camera saw it, uint8 RGB [H, W, 3]."""
        shown = self.view(t).sample(self._patch)
        opacity = shown[..., 3].astype(np.float32) / 255
        image = cv2.blendLinear(np.ascontiguousarray(shown[..., :3]), self.wall, opacity, 1 - opacity)
        width, height = self.size
        x, y = self.grain_shifts[t]
        grain = self.grain[y : y + height, x : x + width]
        noisy = cv2.add(image, cv2.merge([grain.astype(np.int16)] * 3), dtype=cv2.CV_8U)
        return np.asarray(noisy)

    def window_around(self, t: int, polygon: FloatArray, margin: int) -> tuple[int, int, int, int]:
        """Bounds in frame t, clipped to it, of points [N, 2] of the patch: left, top, right, bottom."""
        points = polygon @ self.poses[t][:, :2].T + self.poses[t][:, 2]
        low = np.clip(np.floor(points.min(axis=0)) - margin, 0, self.size).astype(int)
        high = np.clip(np.ceil(points.max(axis=0)) + margin, 0, self.size).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def create_scene(rng: np.random.Generator, subject: Subject, size: tuple[int, int], frames: int) -> Scene:
    """Put a subject before a wall and let them move for some frames."""
    width, height = size
    spread = rng.uniform(1.5, 3.5)  # of the sensor noise, gray levels
    grain = np.rint(rng.normal(0, spread, (height + 64, width + 64))).clip(-20, 20).astype(np.int8)
    return Scene(
        subject=subject,
        size=size,
        wall=np.rint(background(rng, size) * 255).astype(np.uint8),
        poses=_poses(rng, size, frames),
        expressions=_expressions(rng, frames),
        movements=_movements(subject),
        grain=grain,
        grain_shifts=rng.integers(0, 64, (frames, 2)),
    )


def _sway(rng: np.random.Generator, frames: int, reach: float) -> NDArray[np.float64]:
    """A smooth, aimless movement within about +-reach, [T]."""
    t = np.arange(frames) / 25  # seconds
    waves = [np.sin(2 * np.pi * (rng.uniform(*band) * t + rng.random())) for band in ((0.1, 0.3), (0.3, 0.7))]
    return reach * (0.7 * waves[0] + 0.3 * waves[1])


def _poses(rng: np.random.Generator, size: tuple[int, int], frames: int) -> NDArray[np.float64]:
    """Affines patch -> frame: some persons are nearer than others, some are mirrored."""
    width, height = size
    unit = height / _FRAME_HEIGHT
    scale = rng.uniform(1.15, 1.42) / PATCH_SCALE * unit * (1 + _sway(rng, frames, 0.05))
    turn = np.deg2rad(rng.uniform(-3, 3) + _sway(rng, frames, 4))
    mirror = rng.choice([-1, 1])
    x = width * rng.uniform(0.38, 0.62) + _sway(rng, frames, 22 * unit)
    y = height * rng.uniform(0.43, 0.47) + _sway(rng, frames, 7 * unit)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], 1)  # [T, 2, 2]
    offset = np.stack([x, y], -1) - linear @ _HEAD_CENTRE
    return np.concatenate([linear, offset[..., None]], axis=2)


def _expressions(rng: np.random.Generator, frames: int) -> FloatArray:
    """Turning and nodding in -1..1, talking from 0 on, [T, 3]."""
    turning, nodding = _sway(rng, frames, 1.0), _sway(rng, frames, 0.6)
    syllables = np.abs(_sway(rng, frames, 1.0) + 0.6 * np.sin(2 * np.pi * rng.uniform(2, 3.5) * np.arange(frames) / 25))
    return np.stack([turning, nodding, syllables * rng.uniform(0.3, 0.9)], axis=1).astype(np.float32)


def _movements(subject: Subject) -> FloatArray:
    """The displacement fields of turning, nodding and talking, [3, h, w, 2]."""
    face = subject.landmarks
    still = np.concatenate([face, subject.hair[::3]])
    depth = np.full(len(face), 6.0)  # how far a point of the face shifts when the head turns, pixels
    depth[JAW] = 2.5 * np.sin(np.linspace(0, np.pi, 17))
    depth[NOSE] = [6, 7, 8, 10, 8, 8, 9, 8, 8]
    turn, nod, talk = (np.zeros_like(still) for _ in range(3))
    turn[: len(face), 0] = depth
    nod[: len(face), 1] = depth
    lips, inner = LIPS.start, INNER_LIPS.start
    talk[[lips + i for i in (7, 8, 9, 10, 11)] + [inner + i for i in (5, 6, 7)], 1] = [4, 6, 7, 6, 4, 7, 7, 7]
    talk[JAW, 1] = 7 * np.sin(np.linspace(0, np.pi, 17)) ** 4
    return np.stack([displacement(still + move, still) for move in (turn, nod, talk)])
