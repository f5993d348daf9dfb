"""Smooth warps given by a few points that are to move."""

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

from facemill.pipeline.demo.portrait import PATCH_SIZE, FloatArray

__all__ = ["ANCHORS", "displacement", "warp"]

_STEP = 10  # the spline is smooth: it is evaluated on every tenth pixel and interpolated between

# Held still in every warp: the borders of the patch.
ANCHORS: FloatArray = np.array(
    [(x, y) for x in np.linspace(0, PATCH_SIZE, 5) for y in np.linspace(0, PATCH_SIZE, 5) if {x, y} & {0, PATCH_SIZE}],
    np.float32,
)


def displacement(moved: FloatArray, original: FloatArray) -> FloatArray:
    """Field F with `p + F(p) = q` for every point p of `moved` and its q of `original`.

    A thin-plate spline through the points; the borders of the patch stay where they are. The
    direction is that of `cv2.remap`: from a pixel of the result to where its colour comes from.

    Args:
        moved, original: [N, 2], pixels of the patch, no two points of `moved` alike.

    Returns:
        float32 [PATCH_SIZE // 10, PATCH_SIZE // 10, 2], in pixels of the patch.
    """
    spline = RBFInterpolator(
        np.concatenate([moved, ANCHORS]),
        np.concatenate([original - moved, np.zeros_like(ANCHORS)]),
        kernel="thin_plate_spline",
    )
    side = PATCH_SIZE // _STEP
    centres = (np.arange(side) + 0.5) * _STEP - 0.5  # where cv2.resize puts the coarse pixels
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)  # [side², 2]
    return np.asarray(spline(grid).reshape(side, side, 2), np.float32)


def warp(image: FloatArray, field: FloatArray) -> FloatArray:
    """Move the pixels of a patch [PATCH_SIZE, PATCH_SIZE(, C)] by a `displacement`."""
    fine = cv2.resize(field, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(PATCH_SIZE, dtype=np.float32), np.arange(PATCH_SIZE, dtype=np.float32))
    moved = cv2.remap(image, x + fine[..., 0], y + fine[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved.clip(0, 1), np.float32)
