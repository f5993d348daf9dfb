"""Frames of a subject in front of a camera, and of the same scene with a forged face."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.demo.portrait import BROWS, INNER_LIPS, JAW, LIPS, NOSE, PATCH_SCALE, PATCH_SIZE, FloatArray
from facemill.pipeline.demo.subject import LIGHT, LUMA, Subject, displacement, warp

__all__ = ["METHODS", "Method", "Scene", "blend", "forged_face"]

Image = NDArray[np.uint8]

_FRAME_HEIGHT = 360  # frame height that the sizes below refer to
_GRID, _GRID_PERIOD = 0.15, 20.0
"""Relative amplitude of the pattern that a generator's upsampling leaves in the face, and its period: a tenth of it."""
_HEAD_CENTRE = np.array([226, 115]) * PATCH_SCALE  # pixels of the patch


class Scene:
    """One pristine video: a person who sways, turns, nods and talks in front of a wall.

    Args:
        size: (width, height) of its frames.
    """

    def __init__(self, rng: np.random.Generator, subject: Subject, size: tuple[int, int], frames: int) -> None:
        self._size = size
        self._patch = _rgba(subject.image, subject.alpha)
        self._wall = _wall(rng, size)
        self._poses = _poses(rng, size, frames)
        turning, nodding, talking = (_sway(rng, frames, reach) for reach in (1.0, 0.6, 1.0))
        syllables = np.abs(talking + 0.6 * np.sin(2 * np.pi * rng.uniform(2, 3.5) * np.arange(frames) / 25))
        self._expressions = np.stack([turning, nodding, syllables * rng.uniform(0.3, 0.9)], axis=1).astype(np.float32)
        self._movements = _movements(subject)
        spread = rng.uniform(1.5, 3.5)  # of the sensor noise, gray levels
        self._grain = np.rint(rng.normal(0, spread, (size[1] + 64, size[0] + 64))).clip(-20, 20).astype(np.int16)
        self._grain_shifts = rng.integers(0, 64, (frames, 2))

    def layer(self, t: int, patch: Image, offset: NDArray[np.float64] | None = None) -> Image:
        """Warp a patch RGBA [PATCH_SIZE, PATCH_SIZE, 4] to its place in frame t, uint8 [H, W, 4].

        Args:
            offset: (x, y) displacement, pixels of the patch.
        """
        moved = np.tensordot(self._expressions[t], self._movements, axes=1)  # [h, w, 2]
        coarse = PATCH_SIZE / moved.shape[0]
        centres = np.array([[coarse, 0, coarse / 2 - 0.5], [0, coarse, coarse / 2 - 0.5], [0, 0, 1]])
        shift = cv2.warpAffine(moved.astype(np.float32), self._poses[t] @ centres, self._size)
        (a, b, c), (d, e, f) = cv2.invertAffineTransform(self._poses[t]).astype(np.float32)
        x, y = np.arange(self._size[0], dtype=np.float32), np.arange(self._size[1], dtype=np.float32)[:, None]
        right, down = (0.0, 0.0) if offset is None else offset.tolist()
        x_map, y_map = a * x + (b * y + c) + shift[..., 0] + right, d * x + (e * y + f) + shift[..., 1] + down
        return np.asarray(cv2.remap(patch, x_map, y_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.uint8)

    def frame(self, t: int) -> Image:
        """Frame t without sensor noise, uint8 RGB [H, W, 3]."""
        return blend(self.layer(t, self._patch), self._wall)

    def recorded(self, image: Image, t: int) -> Image:
        """Add frame t's sensor noise to an image, so that a forged face has as much of it as the rest of the frame."""
        x, y = self._grain_shifts[t]
        grain = self._grain[y : y + self._size[1], x : x + self._size[0]]
        return np.asarray(cv2.add(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U), np.uint8)


def blend(layer: Image, below: Image, gain: float = 1.0) -> Image:
    """Blend an RGBA image, its colours multiplied by a gain, over an RGB image."""
    opacity = layer[..., 3].astype(np.float32) / 255
    colours = cv2.convertScaleAbs(np.ascontiguousarray(layer[..., :3]), alpha=gain)
    return np.asarray(cv2.blendLinear(colours, below, opacity, 1 - opacity), np.uint8)


def _rgba(image: FloatArray, alpha: FloatArray) -> Image:
    return np.rint(np.dstack([image, alpha]) * 255).astype(np.uint8)


def _wall(rng: np.random.Generator, size: tuple[int, int]) -> Image:
    """A wall, shaded from one side, papered and mottled, uint8 RGB [H, W, 3].

    Wallpaper of various patterns gives crops of various detail, so that little follows from the detail of a face.
    """
    width, height = size
    x, y = np.meshgrid(np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32))
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0.1, 0.35) * (np.cos(angle) * x + np.sin(angle) * y)
    wave = 2 * np.pi / (rng.uniform(0.02, 0.06) * height)
    rows, columns = (np.sin(np.arange(side, dtype=np.float32) * wave) for side in (height, width))
    light *= 1 + rng.uniform(0, 0.6) * rows[:, None] * columns
    for cells in (3, 12, 60):
        noise = rng.standard_normal((cells, cells * 2), np.float32)
        light += cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC) * (0.15 / cells)
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0, 0.5), rng.uniform(0.15, 0.75)]]], np.float32)
    colour = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)
    return np.asarray(np.rint((light[..., None] * colour).clip(0, 1) * 255), np.uint8)


def _sway(rng: np.random.Generator, frames: int, reach: float) -> NDArray[np.float64]:
    """A smooth random movement within about +-reach, [T]."""
    t = np.arange(frames) / 25  # seconds
    waves = [np.sin(2 * np.pi * (rng.uniform(*band) * t + rng.random())) for band in ((0.1, 0.3), (0.3, 0.7))]
    return reach * (0.7 * waves[0] + 0.3 * waves[1])


def _poses(rng: np.random.Generator, size: tuple[int, int], frames: int) -> NDArray[np.float64]:
    """Affines patch -> frame, [T, 2, 3]: distance varies by subject, and some subjects are mirrored."""
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


def _movements(subject: Subject) -> FloatArray:
    """The displacement fields of turning, nodding and talking, [3, h, w, 2]."""
    face = subject.landmarks
    still = np.concatenate([face, subject.hair])
    depth = np.full(len(face), 6.0)  # how far a point of the face shifts when the head turns, pixels
    depth[JAW] = 2.5 * np.sin(np.linspace(0, np.pi, 17))
    depth[NOSE] = 8
    turn, nod, talk = (np.zeros_like(still) for _ in range(3))
    turn[: len(face), 0] = depth
    nod[: len(face), 1] = depth
    lips, inner = LIPS.start, INNER_LIPS.start
    talk[[lips + i for i in (7, 8, 9, 10, 11)] + [inner + i for i in (5, 6, 7)], 1] = [4, 6, 7, 6, 4, 7, 7, 7]
    talk[JAW, 1] = 7 * np.sin(np.linspace(0, np.pi, 17)) ** 4
    return np.stack([displacement(still + move, still) for move in (turn, nod, talk)])


@dataclass(frozen=True)
class Method:
    """Parameters of a forgery method.

    Forgery masks are derived from the difference of real and fake, so that the brightness of a forged face differs from
    the target's: it is as if in shadow where that is under a lamp, and the other way round. As many real faces are
    under a lamp as in shadow, so that brightness does not tell fakes.

    Attributes:
        mouth: whether only the mouth is forged, instead of the whole face.
        resolution: width of the generated face, pixels.
        softness: sigma of the blending edge, as a share of the face's width.
        identity: how much of the source's proportions the forged face keeps, 0..1.
        colour_kept: how much of the source's tint is kept, 0..1.
        jitter: standard deviation of the placement error from frame to frame, pixels of the patch.
    """

    mouth: bool
    resolution: int
    softness: float
    identity: float
    colour_kept: float
    jitter: float


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "Deepfakes": Method(False, 56, 0.028, 0.5, 0.4, 0.4),
        "Face2Face": Method(True, 160, 0.030, 0.6, 0.3, 0.4),
        "FaceSwap": Method(False, 72, 0.014, 0.2, 0.8, 0.4),
        "NeuralTextures": Method(True, 80, 0.050, 0.3, 0.1, 0.2),
    }
)


def forged_face(method: Method, source: Subject, target: Subject) -> Image:
    """The source's face in the target's geometry, with opacity: RGBA [PATCH_SIZE, PATCH_SIZE, 4].

    As in real face swaps, the source's face is warped to the target's landmarks, reduced to the resolution of a
    generator, shifted towards the target's colours, and given a soft edge.
    """
    similarity, _ = cv2.estimateAffinePartial2D(source.landmarks, target.landmarks, method=cv2.LMEDS)
    own = source.landmarks @ similarity[:, :2].T + similarity[:, 2]
    placed = np.asarray(target.landmarks + method.identity * (own - target.landmarks), np.float32)
    face = warp(source.image, displacement(placed, source.landmarks))
    opacity = _opacity(method, target.landmarks)
    width = np.ptp(np.nonzero(opacity.max(axis=0) > 0.5)[0])
    side = round(PATCH_SIZE * min(1.0, method.resolution / width))
    face = cv2.resize(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), (PATCH_SIZE, PATCH_SIZE))
    waves = np.sin(np.arange(PATCH_SIZE, dtype=np.float32) * (2 * np.pi / _GRID_PERIOD))
    grid = 1 + _GRID * waves[:, None, None] * waves[None, :, None]
    return _rgba((_matched(method, face, target, opacity) * grid).clip(0, 1), opacity)


def _opacity(method: Method, landmarks: FloatArray) -> FloatArray:
    """Opacity of the forged face in the target's patch, [PATCH_SIZE, PATCH_SIZE]."""
    jaw = landmarks[JAW]
    if method.mouth:
        centre = landmarks[LIPS].mean(axis=0)
        outline = centre + (landmarks[LIPS] - centre) * (1.3, 2.2)
    else:  # from a little inside the jaw to just above the brows
        centre = np.array([jaw[:, 0].mean(), landmarks[NOSE, 1].mean()])
        outline = np.concatenate([centre + (jaw - centre) * 0.93, landmarks[BROWS] - (0, 6)])
    mask = np.zeros((PATCH_SIZE, PATCH_SIZE), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(outline).astype(np.int32)), 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), method.softness * float(np.ptp(jaw[:, 0]))), np.float32)


def _matched(method: Method, face: FloatArray, target: Subject, opacity: FloatArray) -> FloatArray:
    """Shift the face's mean colour towards the target's, as it would be in the other light."""
    ours, theirs = (np.average(image.reshape(-1, 3), axis=0, weights=opacity.ravel()) for image in (face, target.image))
    tint = method.colour_kept * ours / (ours @ LUMA) + (1 - method.colour_kept) * theirs / (theirs @ LUMA)
    brightness = theirs @ LUMA * LIGHT[not target.lit] / LIGHT[target.lit]
    return np.asarray((face / ours * tint * brightness).clip(0, 1), np.float32)
