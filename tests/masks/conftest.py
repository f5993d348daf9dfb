"""Pairs of clips whose forged region is known, and the real pairs of the test media."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]


def decode(path: Path, limit: int | None = None) -> np.ndarray:
    """The first `limit` frames of a video, uint8 RGB [N, H, W, 3]."""
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == limit:
                break
    return np.stack(frames)


def textured_clip(count: int, height: int, width: int, *, seed: int, speed: tuple[int, int] = (3, 2)) -> np.ndarray:
    """A window that moves over a smooth random picture, levels 30 to 160."""
    rng = np.random.default_rng(seed)
    canvas = rng.normal(size=(height + speed[1] * count, width + speed[0] * count, 3)).astype(np.float32)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 4)
    canvas = cv2.normalize(canvas, None, 30, 160, cv2.NORM_MINMAX).astype(np.uint8)
    windows = [canvas[speed[1] * i :, speed[0] * i :][:height, :width] for i in range(count)]
    return np.stack(windows)


def forged_pair(strength: int, *, count: int = 12, height: int = 240, width: int = 320) -> Pair:
    """Real and fake frames, and the moving ellipse [N, H, W] in which the fake is brighter by about `strength`."""
    real = textured_clip(count, height, width, seed=1)
    texture = textured_clip(count, height, width, seed=2).astype(np.int16) // 8 - 12  # within +-10 levels
    regions = np.zeros(real.shape[:3], np.uint8)
    for i, region in enumerate(regions):
        cv2.ellipse(region, (150 + 2 * i, 120 - i), (50, 70), 10, 0, 360, 255, -1)
    altered = np.clip(real + strength + texture, 0, 255).astype(np.uint8)
    return real, np.where(regions[..., None] > 0, altered, real), regions


@pytest.fixture
def encoded_pair(make_video: Callable[..., Path]) -> Callable[[int, int], Pair]:
    """`encoded_pair(strength, crf)`: a forged pair after H.264, with the region that was forged before it."""

    def make(strength: int, crf: int) -> Pair:
        real, fake, regions = forged_pair(strength)
        decoded = [decode(make_video(f"{name}.mp4", clip, crf=str(crf))) for name, clip in (("r", real), ("f", fake))]
        return decoded[0], decoded[1], regions

    return make


@pytest.fixture(scope="session")
def ghost_clips(media: Path) -> dict[str, np.ndarray]:
    """A real clip of 66 frames and two face swaps made from it, in step."""
    return {name: decode(media / "pairs" / f"ghost_{name}.mp4") for name in ("real", "fake_elon", "fake_mark")}


@pytest.fixture(scope="session")
def read_clip() -> Callable[..., np.ndarray]:
    """`read_clip(path, limit)`: frames of a video, uint8 RGB [N, H, W, 3]."""
    return decode


@pytest.fixture(scope="session")
def moving_clip() -> Callable[..., np.ndarray]:
    """`moving_clip(count, height, width, seed=, speed=)`: procedural frames that move."""
    return textured_clip
