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


def compare_content(
    real: NDArray[np.float32], fake: NDArray[np.float32], matched: NDArray[np.integer], compared: NDArray[np.integer]
) -> tuple[NDArray[np.float32], str, bool]:
    """Whether frames that are matched in time show the same content outside the forged region.

    Args:
        real, fake: luma of the original's and the fake's frames by blocks, gray levels [B, N, P] and [B, M, P].
        matched, compared: the n frames of the original, and those of the fake, that are matched.

    Returns:
        Mean squared difference [n] of each frame outside the forged region; the reason why the videos are not a pair,
        empty if they are; and whether this result is certain: false if the original has too little structure.
    """
    some = slice(None, None, -(-len(matched) // LONGEST_CHECK))
    squares = np.empty((len(real), len(matched)), np.float32)
    contrast = np.empty(len(real), np.float32)
    for block, (ours, theirs) in enumerate(zip(real, fake, strict=True)):  # one by one: they fit a processor's cache
        shown = ours[matched]
        squares[block] = np.square(theirs[compared] - shown).mean(axis=1)
        contrast[block] = np.median(shown[some].var(axis=1))
    structured = contrast > STRUCTURED**2
    agreeing = np.median(squares, axis=1) <= AGREEING * contrast + NOISE
    if structured.sum() < max(1, len(structured) // 12):
        return squares[0], "its original has too little structure to distinguish its frames", False
    share = float((structured & agreeing).sum() / structured.sum())
    if share < AGREEING_SHARE:
        return squares[0], f"only {100 * share:.0f} % of the image resembles its original", True
    # Blocks that are forged only part of the time also agree: in each frame, only the best blocks count.
    best = max(1, round(UNFORGED_SHARE * int(agreeing.sum())))
    kept = np.sort(squares[agreeing], axis=0)[:best].mean(axis=0)
    noise = float(np.quantile(squares[agreeing], 0.25))
    unlike = _unlike_motion(real, fake, matched[some], compared[some], noise)
    if unlike > SAME_MOTION:
        return kept, f"it does not move as its original does: {100 * unlike:.0f} % of the motion differs", True
    return kept, "", True


def _unlike_motion(
    real: NDArray[np.float32],
    fake: NDArray[np.float32],
    matched: NDArray[np.integer],
    compared: NDArray[np.integer],
    noise: float,
) -> float:
    """Difference in motion of blocks [B, n, P]: 0 for equal motion or none, about 1 for unrelated motion."""
    unlike = []
    for ours, theirs in zip(real, fake, strict=True):
        moves = ours[matched]
        moves -= moves.mean(axis=0)
        energy = np.square(moves).mean()
        if energy > max(MOVING**2, 4 * noise):
            others = theirs[compared]
            others -= others.mean(axis=0)
            unlike.append(np.square(moves - others).mean() / (energy + np.square(others).mean()))
    return float(np.quantile(unlike, MOTION_SHARE)) if len(unlike) >= max(2, len(real) // 24) else 0.0
