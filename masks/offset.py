"""Whether a fake runs in step with its original, and if not, by how many frames it is off.

A forged face, and compression, differ in every frame; motion is what tells one frame from the next. So the
two clips' deviations from their own mean picture are compared: a forgery that stays in place cancels, and a
clip that stands still has nothing to say. What that leaves is told apart by the plain difference.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Alignment", "estimate_offset", "thumbnail"]

THUMBNAIL_SIDE = 96  # longer side, pixels

UNFORGED_SHARE = 0.7  # of the pixels, those that fit best at any offset, are compared
SHORTEST_OVERLAP = 3  # frames

# Measured on real clips at crf 16 to 40, swapped, forged, shifted, mirrored and cut elsewhere.
SAME_MOTION = 0.5  # pairs in step reached 0.30, others started at 0.65
CLEAR_GAIN = 0.8  # an offset must bring the motion residual below this share of that at offset 0
STILL_MOTION = 0.5  # gray levels: less motion than this drowns in the noise of strong compression
SAME_STILL = 2.5  # gray levels: residual of pairs that stand still
SAME_PICTURE = 10.0  # gray levels: residual of moving pairs; 3.7 was seen in step, 10 in another cut

Clip = NDArray[np.float32]  # [N, h, w] or, flattened to pixels, [N, P]


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a fake lies in time against its original.

    Attributes:
        offset: fake frame = real frame + offset; 0 where no other offset is clearly better.
        residual: mean absolute luma difference at that offset outside the forged region, gray levels.
        aligned: whether the fake follows its original at that offset.
    """

    offset: int
    residual: float
    aligned: bool


def thumbnail(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The luma of an RGB frame [H, W, 3], shrunk to a longer side of 96 pixels (never enlarged).

    Returns:
        float32 [h, w], gray levels.

    Raises:
        ValueError: the frame is not uint8 [H, W, 3].
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(f"The frame is {frame.dtype} {list(frame.shape)}: pass uint8 RGB [H, W, 3].")
    height, width = frame.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    luma = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float32)
    small: NDArray[np.float32] = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return small


def estimate_offset(real: NDArray[np.floating], fake: NDArray[np.floating], max_offset: int) -> Alignment:
    """Find the offset at which a fake follows its original.

    Args:
        real: thumbnails [N, h, w] of the first frames of a real video; `3 * max_offset` are enough.
        fake: thumbnails [M, h, w] of the first frames of a video made from it.
        max_offset: greatest offset looked for, either way, frames. Offsets at which fewer than
            half of the frames (or fewer than three) would overlap are not tried.

    Raises:
        ValueError: the clips are not [N, h, w] of one size, one is empty, or `max_offset` is negative.
    """
    if real.ndim != 3 or fake.ndim != 3 or real.shape[1:] != fake.shape[1:] or real.size == 0 or fake.size == 0:
        raise ValueError(f"Clips of {list(real.shape)} and {list(fake.shape)} cannot be aligned: pass [N, h, w] each.")
    if max_offset < 0:
        raise ValueError(f"max_offset {max_offset} is negative: pass the greatest offset to look for.")
    original = real.reshape(len(real), -1).astype(np.float32)  # [N, P]
    forged = fake.reshape(len(fake), -1).astype(np.float32)  # [M, P]
    offsets = _offsets(len(original), len(forged), max_offset)
    unforged = _unforged_pixels(original, forged, offsets)
    original, forged = original[:, unforged], forged[:, unforged]

    pairs = {offset: _overlap(original, forged, offset) for offset in offsets}
    motion = {offset: _motion_residual(*pair) for offset, pair in pairs.items()}
    best = min(offsets, key=lambda offset: (motion[offset], abs(offset)))
    moves_alike = motion[best] <= SAME_MOTION
    chosen = best if moves_alike and _clearly_better(original, forged, best, motion[best]) else 0
    residual = float(np.abs(np.subtract(*pairs[chosen])).mean())
    if moves_alike:
        return Alignment(chosen, residual, aligned=residual <= SAME_PICTURE)
    return Alignment(chosen, residual, aligned=residual <= SAME_STILL and _motion(original) <= STILL_MOTION)


def _offsets(real_frames: int, fake_frames: int, max_offset: int) -> list[int]:
    """Offsets with enough overlap, 0 always among them."""
    shorter = min(real_frames, fake_frames)
    needed = max(SHORTEST_OVERLAP, (shorter + 1) // 2)

    def overlap(offset: int) -> int:
        return min(real_frames, fake_frames - offset) - max(0, -offset)

    return [offset for offset in range(-max_offset, max_offset + 1) if offset == 0 or overlap(offset) >= needed]


def _overlap(real: Clip, fake: Clip, offset: int) -> tuple[Clip, Clip]:
    """The frames of both clips [N, P] that show the same moment if `offset` is right."""
    first, last = max(0, -offset), min(len(real), len(fake) - offset)
    return real[first:last], fake[first + offset : last + offset]


def _unforged_pixels(real: Clip, fake: Clip, offsets: list[int]) -> NDArray[np.bool_]:
    """Pixels [P] that some offset explains well: the same set for all offsets, so that these stay comparable."""
    misfits = [np.abs(np.subtract(*_overlap(real, fake, offset))).mean(axis=0) for offset in offsets]
    misfit = np.min(misfits, axis=0)  # [P]
    unforged: NDArray[np.bool_] = misfit <= np.quantile(misfit, UNFORGED_SHARE)
    return unforged


def _motion_residual(real: Clip, fake: Clip) -> float:
    """0 where both clips [N, P] move alike, about 1 where their motions have nothing in common (or are none)."""
    moving, forged_moving = real - real.mean(axis=0), fake - fake.mean(axis=0)
    energy = float(np.square(moving).sum() + np.square(forged_moving).sum())
    return float(np.square(moving - forged_moving).sum()) / energy if energy > 0 else 1.0


def _clearly_better(real: Clip, fake: Clip, offset: int, residual: float) -> bool:
    """Whether `offset` beats offset 0 on the very frames of the original that it was judged by."""
    first, last = max(0, -offset), min(len(real), len(fake) - offset, len(fake))
    return residual < CLEAR_GAIN * _motion_residual(real[first:last], fake[first:last])


def _motion(clip: Clip) -> float:
    """Root mean square deviation of a clip [N, P] from its mean picture, gray levels."""
    return float(np.sqrt(np.square(clip - clip.mean(axis=0)).mean()))
