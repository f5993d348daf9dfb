"""Forging a demo video: one subject's face, warped and blended onto another's.

Each method is a recipe of the same steps that real face swaps take: warp the source's face to the
target's landmarks, pass it through a network-sized resolution, bring its colours towards the target's,
blend it in by a soft mask. No method matches the target's brightness: forgery masks are found by
thresholding the difference between real and fake, and a perfect match would leave nothing to find.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.demo.looks import LUMA
from facemill.pipeline.demo.portrait import BROWS, JAW, LIPS, NOSE, PATCH_SIZE, FloatArray
from facemill.pipeline.demo.scene import Scene, View
from facemill.pipeline.demo.subject import Subject
from facemill.pipeline.demo.warp import displacement, warp

__all__ = ["METHODS", "Forgery", "Method", "forge"]


_BURNT_OUT = 0.87  # luma above which skin has no shading left
_SHADE: FloatArray = np.array([0.97, 1.0, 1.06], np.float32)  # tint of what lies in the shade


@dataclass(frozen=True)
class Method:
    """How a forgery method works.

    Attributes:
        region: `face`, an oval; `polygon`, the face cut along its landmarks; `mouth`.
        resolution: pixels across the face that the generator makes.
        softness: sigma of the blend's edge, as a share of the face's width.
        identity: how much of the source's proportions the forged face keeps, 0..1.
        brightness_gap: luma between the forged face and the target's, 0..1.
        colour_kept: how much of the source's tint is kept, 0..1.
        liveliness: how much of the target's expression the forged face shows, 0..1.
        jitter: spread of the frame-to-frame placing error, pixels of the patch.
        flicker: spread of the frame-to-frame brightness error, relative.
    """

    region: str
    resolution: int
    softness: float
    identity: float
    brightness_gap: float
    colour_kept: float
    liveliness: float
    jitter: float
    flicker: float


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "Deepfakes": Method("face", 56, 0.028, 0.5, 0.27, 0.4, 0.7, 0.6, 0.02),
        "Face2Face": Method("mouth", 160, 0.030, 0.6, 0.24, 0.3, 0.0, 0.4, 0.01),
        "FaceSwap": Method("polygon", 160, 0.012, 0.2, 0.27, 0.8, 1.0, 1.2, 0.03),
        "NeuralTextures": Method("mouth", 80, 0.050, 0.3, 0.24, 0.1, 0.5, 0.2, 0.01),
    }
)


@dataclass(frozen=True)
class Forgery:
    """A face ready to be blended into every frame of a scene.

    Attributes:
        scene: the target's video.
        patch: uint8 [PATCH_SIZE, PATCH_SIZE, 4], the source's face in the target's geometry, and its opacity.
        outline: bounds of its opacity, pixels of the patch, [4, 2].
        liveliness, offsets, gains: of each frame; `offsets` [T, 2] in pixels of the patch.
    """

    scene: Scene
    patch: NDArray[np.uint8]
    outline: FloatArray
    liveliness: float
    offsets: FloatArray
    gains: FloatArray

    def apply(self, t: int, frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Forge frame t.

        Args:
            frame: `scene.frame(t)`, uint8 RGB [H, W, 3]; it is left as it is.

        Returns:
            the forged frame, and its mask, uint8 [H, W]: 255 where most of a pixel is forged, else 0.
        """
        window = self.scene.window_around(t, self.outline, margin=12)
        view = self.scene.view(t, window, liveliness=self.liveliness)
        x, y = self.offsets[t]
        shown = View(view.left, view.top, view.x + x, view.y + y).sample(self.patch)
        opacity = shown[..., 3:].astype(np.float32) / 255
        left, top, right, bottom = window
        forged, mask = frame.copy(), np.zeros(frame.shape[:2], np.uint8)
        below = forged[top:bottom, left:right]
        blended = below + (shown[..., :3] * self.gains[t] - below) * opacity
        forged[top:bottom, left:right] = np.rint(blended).clip(0, 255).astype(np.uint8)
        mask[top:bottom, left:right] = np.where(opacity[..., 0] >= 0.5, 255, 0)
        return forged, mask


def forge(rng: np.random.Generator, method: Method, source: Subject, target: Scene) -> Forgery:
    """Prepare the source's face to be put over that of a scene's subject."""
    opacity = _region(method, target.subject)
    face = warp(source.image, displacement(_placed(method, source, target.subject), source.landmarks))
    face = _generated(face, opacity, method.resolution)
    face = _matched(method, face, target.subject.image, opacity)
    rows, columns = np.nonzero(opacity > 0.01)
    low, high = (columns.min(), rows.min()), (columns.max(), rows.max())
    frames = len(target)
    return Forgery(
        scene=target,
        patch=np.rint(np.dstack([face, opacity]) * 255).astype(np.uint8),
        outline=np.array([low, (high[0], low[1]), high, (low[0], high[1])], np.float32),
        liveliness=method.liveliness,
        offsets=rng.normal(0, method.jitter, (frames, 2)).astype(np.float32),
        gains=rng.normal(1, method.flicker, frames).clip(0.9, 1.1).astype(np.float32),
    )


def _placed(method: Method, source: Subject, target: Subject) -> FloatArray:
    """Where the source's landmarks come to lie in the target's patch, [68, 2]."""
    similarity, _ = cv2.estimateAffinePartial2D(source.landmarks, target.landmarks, method=cv2.LMEDS)
    own = source.landmarks @ similarity[:, :2].T + similarity[:, 2]
    return np.asarray((target.landmarks + method.identity * (own - target.landmarks)), np.float32)


def _region(method: Method, target: Subject) -> FloatArray:
    """Opacity of the forged face in the target's patch, [PATCH_SIZE, PATCH_SIZE]."""
    face = _face_hull(target.landmarks)
    width = float(np.ptp(face[:, 0]))
    mask = np.zeros((PATCH_SIZE, PATCH_SIZE), np.float32)
    if method.region == "face":
        low, high = face.min(axis=0), face.max(axis=0)
        cv2.ellipse(mask, ((low + high) / 2, high - low, 0), 1.0, -1)
    elif method.region == "polygon":
        cv2.fillPoly(mask, [np.rint(face).astype(np.int32)], 1.0)
    else:
        lips = cv2.convexHull(target.landmarks[LIPS])[:, 0]
        centre = lips.mean(axis=0)
        around = centre + (lips - centre) * np.array([1.3, 2.2], np.float32)
        cv2.fillPoly(mask, [np.rint(around).astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), method.softness * width), np.float32)


def _face_hull(landmarks: FloatArray) -> FloatArray:
    """From a little inside the jaw to just above the brows, [N, 2]."""
    jaw = landmarks[JAW]
    centre = np.array([jaw[:, 0].mean(), landmarks[NOSE, 1].mean()], np.float32)
    points = np.concatenate([centre + (jaw - centre) * 0.93, landmarks[BROWS] - np.array([0, 6], np.float32)])
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float32)


def _generated(face: FloatArray, opacity: FloatArray, resolution: int) -> FloatArray:
    """The face as a generator of few pixels makes it: `resolution` across the forged region."""
    width = np.ptp(np.nonzero(opacity.max(axis=0) > 0.5)[0])
    side = round(PATCH_SIZE * min(1.0, resolution / width))
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_CUBIC).clip(0, 1), np.float32)


def _matched(method: Method, face: FloatArray, target: FloatArray, opacity: FloatArray) -> FloatArray:
    """Bring the face's mean colour near the target's, brighter by the gap, or dimmer where that would burn out."""
    ours, theirs = (np.average(image.reshape(-1, 3), axis=0, weights=opacity.ravel()) for image in (face, target))
    our_tint, their_tint = ours / (ours @ LUMA), theirs / (theirs @ LUMA)
    tint = method.colour_kept * our_tint + (1 - method.colour_kept) * their_tint
    brightness = theirs @ LUMA + method.brightness_gap
    if brightness > _BURNT_OUT:
        brightness -= 2 * method.brightness_gap
        tint = (tint + _SHADE) / 2
    return (face / ours * tint * brightness).clip(0, 1).astype(np.float32)
