"""Area resizing of whole frames and of thousands of boxes, with integral images.

An output pixel is the mean of the input pixels that it overlaps (torch's `area` interpolation,
`adaptive_avg_pool2d`). An integral image gives that sum with four look-ups, independent of size. It takes 12 bytes
per pixel; of very large frames only strips are integrated, when they are needed.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = ["AreaSampler"]

WHOLE_PIXELS = 1 << 24
"""On a CPU, more pixels than this are integrated in strips: 192 MiB."""
STRIP_PIXELS = 1 << 20


class AreaSampler:
    """Resizes N frames of equal size, or boxes in them, and normalises them for MTCNN's networks.

    Sums are int32 and may wrap around; a difference of sums is exact as long as the sum over one
    output pixel is below 2**31, which holds up to eight million input pixels per output pixel.

    Args:
        frames: RGB [H, W, 3] each, of equal size.
        device: where the integral images are kept and results are computed.
    """

    def __init__(self, frames: Sequence[NDArray[np.uint8]], device: torch.device) -> None:
        self._frames = frames
        self.height, self.width = frames[0].shape[:2]
        self._device = device
        whole = device.type != "cpu" or len(frames) * self.height * self.width <= WHOLE_PIXELS
        self._sums = _integrate(frames, device) if whole else None  # int32 [N, H + 1, W + 1, 3]

    def __len__(self) -> int:
        return len(self._frames)

    def resize(self, height: int, width: int, rows: range) -> Tensor:
        """Compute some rows of all frames at another size: float32 [N, 3, len(rows), width] in -1..1, channels last."""
        top, bottom = _bins(self.height, height, rows, self._device)
        left, right = _bins(self.width, width, range(width), self._device)
        if self._sums is None:
            sums = torch.stack([_sums_of_strips(frame, left, top, right, bottom) for frame in self._frames])
        else:
            strips = self._sums.index_select(1, bottom) - self._sums.index_select(1, top)
            sums = strips.index_select(2, right) - strips.index_select(2, left)  # [N, len(rows), width, 3]
        return _normalise(sums, (bottom - top)[:, None] * (right - left)).permute(0, 3, 1, 2)

    def crop(self, frame: Tensor, boxes: Tensor, size: int) -> Tensor:
        """Crop K boxes and resize each to a square.

        Args:
            frame: int64 [K], index of each box's frame.
            boxes: int64 [K, 4], xyxy edges within the frame, not empty.
            size: side of the square, pixels.

        Returns:
            float32 [K, 3, size, size] in -1..1, channels last.
        """
        step = torch.arange(size, device=boxes.device)
        start, extent = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[..., None]
        low = start + step * extent // size  # [K, 2, size]
        high = start + ((step + 1) * extent + size - 1) // size
        if self._sums is None:
            edges = zip(frame.tolist(), low, high, strict=True)
            sums = torch.stack([_sums_of_strips(self._frames[n], *first, *last) for n, first, last in edges])
        else:
            x, y = torch.cat([low, high], dim=2).unbind(dim=1)  # [K, 2 * size]
            row = (frame[:, None] * (self.height + 1) + y) * (self.width + 1)
            index = (row[:, :, None] + x[:, None, :]).flatten()
            corners = self._sums.view(-1, 3).index_select(0, index).view(-1, 2 * size, 2 * size, 3)
            strips = corners[:, size:] - corners[:, :size]
            sums = strips[:, :, size:] - strips[:, :, :size]  # [K, size, size, 3]
        width, height = (high - low).unbind(dim=1)
        return _normalise(sums, height[:, :, None] * width[:, None, :]).permute(0, 3, 1, 2)


def _integrate(frames: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    if device.type == "cpu":
        height, width = frames[0].shape[:2]
        sums = np.empty((len(frames), height + 1, width + 1, 3), np.int32)
        for frame, out in zip(frames, sums, strict=True):
            cv2.integral(frame, out, cv2.CV_32S)  # in place: a copy for a large frame takes hundreds of megabytes
        return torch.from_numpy(sums)
    pixels = torch.from_numpy(np.stack(frames)).to(device)
    return F.pad(pixels, (0, 0, 1, 0, 1, 0)).cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)


def _sums_of_strips(frame: NDArray[np.uint8], left: Tensor, top: Tensor, right: Tensor, bottom: Tensor) -> Tensor:
    """Sums of a frame [H, W, 3] over bins with edges left, right [X] and top, bottom [Y], rising: int32 [Y, X, 3]."""
    columns = range(int(left[0]), int(right[-1]))
    low, high = (left - columns.start).numpy(), (right - columns.start).numpy()
    step = max(1, STRIP_PIXELS // len(columns) * len(top) // int(bottom[-1] - top[0]))  # rows of bins in a strip
    parts = []
    for upper, lower in zip(torch.split(top, step), torch.split(bottom, step), strict=True):
        rows = range(int(upper[0]), int(lower[-1]))
        sums = cv2.integral(frame[rows.start : rows.stop, columns.start : columns.stop], sdepth=cv2.CV_32S)
        strip = sums[(lower - rows.start).numpy()] - sums[(upper - rows.start).numpy()]
        parts.append(torch.from_numpy(strip[:, high] - strip[:, low]))
    return torch.cat(parts)


def _bins(pixels: int, bins: int, wanted: range, device: torch.device) -> tuple[Tensor, Tensor]:
    """First and past-the-end input pixel of the wanted output pixels along one axis: int64 each."""
    step = torch.arange(wanted.start, wanted.stop, device=device)
    return step * pixels // bins, ((step + 1) * pixels + bins - 1) // bins


def _normalise(sums: Tensor, counts: Tensor) -> Tensor:
    """(mean - 127.5) / 128 of sums [..., 3] over counts [...]."""
    return (sums * (1 / (128 * counts[..., None]))).sub_(127.5 / 128)
