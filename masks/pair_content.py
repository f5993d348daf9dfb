"""Whether two videos show the same content outside a forged region, by structure and by motion."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["compare_content"]

# Measured on real and composed pairs: see the table in the tests.
STRUCTURED = 4.0  # gray levels: least standard deviation within a block that has structure
AGREEING = 0.2  # largest squared difference of a block with the same content, as a share of its variance
AGREEING_SHARE = 0.27  # of the structured blocks; 0.24 was seen with other framing, 0.30 with 41 % of the frame forged
NOISE = 2.0  # squared gray levels of difference allowed in any block
MOVING = 1.5  # gray levels: least standard deviation over time of a block that moves
SAME_MOTION = 0.5  # 0: same motion, 1: nothing in common
MOTION_SHARE = 0.2  # least share of the moving blocks with the same motion: most of them may be forged
UNFORGED_SHARE = 0.6  # of a frame's blocks: a forgery covers up to 40 % of the frame
LONGEST_CHECK = 256  # most frames of a video that are compared


def compare_content(shown: NDArray[np.float32], fakes: NDArray[np.float32]) -> tuple[NDArray[np.float32], str, bool]:
    """Whether frames that are matched in time show the same content outside the forged region.

    Args:
        shown, fakes: luma of the original's and the fake's frames by blocks, gray levels [B, n, P].

    Returns:
        Mean squared difference [n] of each frame outside the forged region; the reason why the videos are not a pair,
        empty if they are; and whether this result is certain: false if the original has too little structure.
    """
    step = -(-shown.shape[1] // LONGEST_CHECK)
    squares = np.square(fakes - shown).mean(axis=2)  # [B, n]
    shown, fakes = shown[:, ::step], fakes[:, ::step]
    contrast = np.median(shown.var(axis=2), axis=1)  # [B]
    structured = contrast > STRUCTURED**2
    agreeing = np.median(squares, axis=1) <= AGREEING * contrast + NOISE
    if structured.sum() < max(1, len(structured) // 12):
        return squares[0], "its original has too little structure to distinguish its frames", False
    share = float((structured & agreeing).sum() / structured.sum())
    if share < AGREEING_SHARE:
        reason = f"only {100 * share:.0f} % of the image resembles its original"
        return squares[0], reason, True
    # Blocks that are forged only part of the time also agree: in each frame, only the best blocks count.
    best = np.sort(squares[agreeing], axis=0)[: max(1, round(UNFORGED_SHARE * int(agreeing.sum())))]
    kept = best.mean(axis=0)
    unlike = _unlike_motion(shown, fakes, float(np.quantile(squares[agreeing], 0.25)))
    if unlike > SAME_MOTION:
        reason = f"it does not move as its original does: {100 * unlike:.0f} % of the motion differs"
        return kept, reason, True
    return kept, "", True


def _unlike_motion(real: NDArray[np.float32], fake: NDArray[np.float32], noise: float) -> float:
    """Difference in motion of blocks [B, n, P]: 0 for equal motion or none, about 1 for unrelated motion."""
    real, fake = real - real.mean(axis=1, keepdims=True), fake - fake.mean(axis=1, keepdims=True)
    energy = np.square(real).mean(axis=(1, 2)), np.square(fake).mean(axis=(1, 2))
    moving = energy[0] > max(MOVING**2, 4 * noise)
    if moving.sum() < max(2, len(moving) // 24):
        return 0.0
    unlike = np.square(real - fake).mean(axis=(1, 2))[moving] / (energy[0] + energy[1])[moving]
    return float(np.quantile(unlike, MOTION_SHARE))
