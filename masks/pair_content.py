"""Whether two clips show the same, but for a forged region: by structure, and by what moves."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["compare_content"]

# Measured on real and composed pairs: see the table in the tests.
STRUCTURED = 4.0  # gray levels: standard deviation within a block that shows something
AGREEING = 0.2  # share of a block's variance that may differ where both show the same
AGREEING_SHARE = 0.27  # of the structured blocks; 0.24 was seen with other framing, 0.30 with 41 % of the frame forged
NOISE = 2.0  # squared gray levels by which any block may differ
MOVING = 1.5  # gray levels: standard deviation in time of a block that moves
SAME_MOTION = 0.5  # 0: both move alike, 1: nothing in common
MOTION_SHARE = 0.2  # of the moving blocks have to move alike: the forged ones may be most of them
UNFORGED_SHARE = 0.6  # of a frame's blocks: a forgery covers up to 40 % of the frame
LONGEST_CHECK = 256  # frames by which a clip is compared


def compare_content(shown: NDArray[np.float32], fakes: NDArray[np.float32]) -> tuple[NDArray[np.float32], str, bool]:
    """Whether frames that are matched in time show the same, but for what is forged.

    Args:
        shown, fakes: luma of the original's and the fake's frames by blocks, gray levels [B, n, P].

    Returns:
        Squared difference [n] of each frame outside the forged region; why they are no pair, empty if they are one; and
        whether that is certain: false where the original shows too little to tell.
    """
    step = -(-shown.shape[1] // LONGEST_CHECK)
    squares = np.square(fakes - shown).mean(axis=2)  # [B, n]
    shown, fakes = shown[:, ::step], fakes[:, ::step]
    contrast = np.median(shown.var(axis=2), axis=1)  # [B]
    structured = contrast > STRUCTURED**2
    agreeing = np.median(squares, axis=1) <= AGREEING * contrast + NOISE
    if structured.sum() < max(1, len(structured) // 12):
        return squares[0], "its original shows too little to tell its frames apart", False
    share = float((structured & agreeing).sum() / structured.sum())
    if share < AGREEING_SHARE:
        reason = f"only {100 * share:.0f} % of the picture resembles its original"
        return squares[0], reason, True
    # What is forged for a part of the time agrees most of the time: of each frame the best blocks count.
    best = np.sort(squares[agreeing], axis=0)[: max(1, round(UNFORGED_SHARE * int(agreeing.sum())))]
    kept = best.mean(axis=0)
    unlike = _unlike_motion(shown, fakes, float(np.quantile(squares[agreeing], 0.25)))
    if unlike > SAME_MOTION:
        reason = f"it does not move as its original does: {100 * unlike:.0f} % of the motion differs"
        return kept, reason, True
    return kept, "", True


def _unlike_motion(real: NDArray[np.float32], fake: NDArray[np.float32], noise: float) -> float:
    """0 where blocks [B, n, P] that move do so alike, about 1 where they have nothing in common; 0 if none moves."""
    real, fake = real - real.mean(axis=1, keepdims=True), fake - fake.mean(axis=1, keepdims=True)
    energy = np.square(real).mean(axis=(1, 2)), np.square(fake).mean(axis=(1, 2))
    moving = energy[0] > max(MOVING**2, 4 * noise)
    if moving.sum() < max(2, len(moving) // 24):
        return 0.0
    unlike = np.square(real - fake).mean(axis=(1, 2))[moving] / (energy[0] + energy[1])[moving]
    return float(np.quantile(unlike, MOTION_SHARE))
