"""Real/fake pairs whose frames correspond in a known way: one clip forged, then shifted, cut, repeated or resampled."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

Clip = np.ndarray  # uint8 RGB [N, H, W, 3]


@dataclass(frozen=True)
class TimedPair:
    """A fake and which real frame each of its frames shows.

    Attributes:
        real_of: [M], -1 for frames that show none of them.
        real_fps, fake_fps: frames per second that the files say.
        match: whether the two belong together at all.
    """

    real: Clip
    fake: Clip
    real_of: np.ndarray
    real_fps: float = 25
    fake_fps: float = 25
    match: bool = True


def read_clip(path: Path, count: int | None = None, side: int = 480) -> Clip:
    """The first frames of a video, longer side at most `side`, both sides even."""
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            scale = min(1.0, side / max(frame.width, frame.height))
            size = {"width": int(frame.width * scale) // 2 * 2, "height": int(frame.height * scale) // 2 * 2}
            frames.append(frame.to_ndarray(format="rgb24", interpolation="AREA", **size))
            if len(frames) == count:
                break
    return np.stack(frames)


def forge(clip: Clip, other: Clip, box: tuple[float, float, float, float]) -> Clip:
    """Another clip's middle in an ellipse of `clip` (`box`: xyxy as shares of its sides), with a soft edge.

    The ellipse and what is in it move by themselves.
    """
    height, width = clip.shape[1:3]
    x0, y0, x1, y1 = np.array(box) * [width, height, width, height]
    result = clip.copy()
    for index, frame in enumerate(result):
        sway = 0.02 * width * np.sin(index / 9)
        blend = np.zeros((height, width), np.float32)
        centre = (int((x0 + x1) / 2 + sway), int((y0 + y1) / 2))
        cv2.ellipse(blend, centre, (int((x1 - x0) / 2), int((y1 - y0) / 2)), 0, 0, 360, 1, -1)
        blend = cv2.GaussianBlur(blend, (0, 0), 3)[..., None]
        pasted = cv2.resize(other[index % len(other)], (width, height), interpolation=cv2.INTER_AREA)
        frame[:] = frame * (1 - blend) + pasted * blend
    return result


def _select(choose: Callable[[int], np.ndarray], **fields: float) -> Callable[[Clip, Clip], TimedPair]:
    def make(real: Clip, forged: Clip) -> TimedPair:
        chosen = choose(len(real))
        return TimedPair(real, forged[chosen], chosen, **fields)

    return make


def _without(count: int, *gone: int) -> np.ndarray:
    return np.setdiff1d(np.arange(count), gone)


def _nearest(count: int, step: float) -> np.ndarray:
    return np.floor(np.arange(count) * step + 0.49).astype(int)


def _changed(change: Callable[[Clip], Clip], *, match: bool) -> Callable[[Clip, Clip], TimedPair]:
    def make(real: Clip, forged: Clip) -> TimedPair:
        fake = change(forged)
        return TimedPair(real, fake, np.arange(len(real)) if match else np.full(len(real), -1), match=match)

    return make


def _bars(clip: Clip) -> Clip:
    """The picture shrunk between bars on the left and the right."""
    height, width = clip.shape[1:3]
    inner = int(width * 0.75)
    result = np.zeros_like(clip)
    for frame, source in zip(result, clip, strict=True):
        small = cv2.resize(source, (inner, int(height * 0.75)), interpolation=cv2.INTER_AREA)
        top, left = (height - small.shape[0]) // 2, (width - inner) // 2
        frame[top : top + small.shape[0], left : left + inner] = small
    return result


def _letterbox(clip: Clip) -> Clip:
    """Bars over the upper and lower eighth, the picture squeezed between them."""
    height, width = clip.shape[1:3]
    inner = height * 3 // 4
    result = np.zeros_like(clip)
    for frame, source in zip(result, clip, strict=True):
        frame[height // 8 : height // 8 + inner] = cv2.resize(source, (width, inner), interpolation=cv2.INTER_AREA)
    return result


def _half(clip: Clip) -> Clip:
    height, width = (side // 4 * 2 for side in clip.shape[1:3])
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in clip])


def _zoomed(clip: Clip) -> Clip:
    height, width = clip.shape[1:3]
    y, x = height // 16, width // 16
    return np.stack([cv2.resize(frame[y:-y, x:-x], (width, height)) for frame in clip])


CASES: dict[str, Callable[[Clip, Clip], TimedPair]] = {
    "as it is": _select(np.arange),
    "starts 3 later": _select(lambda count: np.arange(3, count)),
    "starts 12 later": _select(lambda count: np.arange(12, count)),
    "real starts 5 later": lambda real, forged: TimedPair(real[5:], forged, np.arange(-5, len(real) - 5)),
    "one dropped at two places": _select(lambda count: _without(count, count // 3, count * 2 // 3)),
    "three doubled": _select(lambda count: np.sort([*range(count), count // 5, count // 2, count * 3 // 4])),
    "20 cut out": _select(lambda count: _without(count, *range(count // 2 - 10, count // 2 + 10))),
    "30 from 25": _select(lambda count: np.arange(count * 6 // 5) * 5 // 6, fake_fps=30),
    "30 from 25, rounded": _select(
        lambda count: np.floor(np.arange(count * 6 // 5 - 1) / 1.2 + 0.49).astype(int), fake_fps=30
    ),
    "25 from 30": _select(lambda count: np.floor(np.arange(count * 5 // 6) * 1.2 + 0.49).astype(int), real_fps=30),
    "12.5 from 25": _select(lambda count: np.arange(0, count, 2), fake_fps=12.5),
    "paler and brighter": _changed(lambda clip: np.clip(clip * 0.95 + 12, 0, 255).astype(np.uint8), match=True),
    "half the size": _changed(_half, match=True),
    "mirrored": _changed(lambda clip: np.ascontiguousarray(clip[:, :, ::-1]), match=False),
    "bars all around": _changed(_bars, match=False),
    "letterbox": _changed(_letterbox, match=False),
    "zoomed by an eighth": _changed(_zoomed, match=False),
    "backwards": _changed(lambda clip: np.ascontiguousarray(clip[::-1]), match=False),
    "the real again": lambda real, forged: TimedPair(real, real, np.arange(len(real))),
}


def visibly_differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two real frames differ by more than what compression does: the most different twentieth, 3 x 3 means."""
    gap = cv2.blur(np.abs(one.astype(np.int16) - other).mean(axis=2).astype(np.float32), (3, 3))
    return bool(np.quantile(gap, 0.95) > 6)


def wrongly_paired(pair: TimedPair, real_of: np.ndarray) -> int:
    """Fake frames that were matched with a real frame that visibly differs from the one that they show."""
    wrong = 0
    for shown, found in zip(pair.real_of, real_of, strict=True):
        if found < 0 or found == shown:
            continue
        wrong += not pair.match or not 0 <= shown < len(pair.real) or visibly_differ(pair.real[found], pair.real[shown])
    return wrong
