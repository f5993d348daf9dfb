"""The difference between a real and a fake frame around one face, on a small grid in units of the face.

The grid covers a square of `GROWTH` times the longer side of the face's box. Frames are uint8 RGB [H, W, 3], boxes
xyxy in pixels of the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.masks.difference import check_frame, check_sizes

__all__ = ["FACE_CELLS", "FINE", "GRID", "FaceDifference", "OriginalFrame"]

GRID = 128  # cells along a side
GROWTH = 2.0  # side of the grid, as a multiple of the longer side of the face's box
FACE_CELLS = GRID / GROWTH  # longer side of the face's box, cells
FINE = 0.016 * FACE_CELLS  # minimum sigma of the smoothing against coding noise, cells
AREA = 0.05 * FACE_CELLS  # sigma of the neighbourhood that texture is measured in
FACE_MARGIN = 1.6  # a forgery lies within the face's box enlarged by this factor
SAMPLES = 16384  # approximate number of pixels examined outside the faces
BLOCK = 4  # side, in samples, of the blocks used to fit gain and offset
LARGE_SIDE, BAND = 4096, 256  # pixels: of squares that are never held whole, and height of the parts that are
LARGE_DIFFERENCE = 0.15 * 255
BIN = 32.0  # width, in gray levels of the real, of the bins of blocks
FEWEST_OF_A_BIN, WELL_KNOWN = 3, 20  # number of blocks of a bin: fewer are ignored, more have no more weight
CONTRAST = 2.0  # gray levels: if blocks differ by less, the estimated gain is drawn towards 1
CHANGED = 2  # gray levels: if half of the blocks change by less, there is only coding noise
FEWEST_BLOCKS = 12
LUMA_CHROMA = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)  # ITU-R BT.601

Frame = NDArray[np.uint8]  # [H, W, 3] RGB
Box = Sequence[float] | NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class FaceDifference:
    """Difference of a fake's frame from its original around one face.

    Attributes:
        grid: float32 [GRID, GRID, 3], fake minus real (signed RGB gray levels, gain and offset of the frame removed);
            0 outside the frame.
        texture: float32 [GRID, GRID], root mean square gradient of the real's luma around each cell, gray levels per
            cell; outside the frame its edge is repeated.
        distance: float32 [GRID, GRID], of each cell from the centre of the face; 1 on the ellipse that fills the box.
        own: bool [GRID, GRID], cells inside the frame that are nearer to this face than to any other.
        left, top, side: the square that the grid covers, in pixels of the frame.
        box: xyxy, the face, in pixels of the frame.
        gain, offset: fake = gain * real + offset [3] outside the faces.
        outside_share: share of the pixels outside all faces that differ by more than 0.15, gain and offset removed;
            0 where there are none.
        landmarks: float64 [K, 2], points of the face, xy in cells counted from the centre of the first; None where
            they are unknown.
    """

    grid: NDArray[np.float32]
    texture: NDArray[np.float32]
    distance: NDArray[np.float32]
    own: NDArray[np.bool_]
    left: int
    top: int
    side: int
    box: tuple[float, float, float, float]
    gain: float
    offset: NDArray[np.float32]
    outside_share: float
    landmarks: NDArray[np.float64] | None

    @property
    def affine(self) -> NDArray[np.float64]:
        """The affine [2, 3] from cells of the grid to pixels, both counted from the centre of the first."""
        scale = self.side / GRID
        shift = 0.5 * scale - 0.5
        return np.array([[scale, 0, self.left + shift], [0, scale, self.top + shift]])

    def smooth(self) -> NDArray[np.float32]:
        """Luma and chroma of the difference, float32 [GRID, GRID, 3], smoothed by `FINE`."""
        luma_chroma = cv2.transform(self.grid, LUMA_CHROMA)
        return np.asarray(cv2.GaussianBlur(luma_chroma, (0, 0), FINE), np.float32)


class OriginalFrame:
    """An original's frame with its faces, with which several fakes are compared.

    Args:
        real: uint8 RGB [H, W, 3].
        boxes: all faces, which may be forged.
        landmarks: [K, 2] of each of `boxes`, the same points in every frame; coordinates are those of boxes.

    Raises:
        ValueError: the frame is not uint8 [H, W, 3], or a box is not four finite numbers.
    """

    def __init__(
        self, real: Frame, boxes: Sequence[Box], landmarks: Sequence[NDArray[np.floating]] | None = None
    ) -> None:
        check_frame("real", real)
        every = np.array(boxes, np.float64).reshape(-1, 4)
        if not np.isfinite(every).all():
            raise ValueError("A face box is not finite: pass xyxy in pixels.")
        self.shape = real.shape
        self._surroundings = _Surroundings(real, every)
        points = landmarks if landmarks is not None else [None] * len(boxes)
        self._faces = [_OriginalFace(real, every, index, one) for index, one in enumerate(points)]

    def measure(self, fake: Frame) -> list[FaceDifference]:
        """Measure the difference around each face of the frame [H, W, 3] made from this one.

        Raises:
            ValueError: it is not uint8, or of another size.
        """
        check_frame("fake", fake)
        check_sizes(self.shape, fake.shape)
        levels = self._surroundings.compare(fake)
        return [face.measure(fake, *levels) for face in self._faces]


class _OriginalFace:
    """One face of an original's frame: see `FaceDifference`."""

    def __init__(
        self, real: Frame, boxes: NDArray[np.float64], index: int, landmarks: NDArray[np.floating] | None
    ) -> None:
        height, width = real.shape[:2]
        x1, y1, x2, y2 = self._box = boxes[index]
        self._side = side = 4 * max(round(GROWTH * max(x2 - x1, y2 - y1) / 4), 1)
        self._left, self._top = left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
        self._grid = _gridded(real, left, top, side)
        self._texture = _texture(cv2.cvtColor(self._grid, cv2.COLOR_RGB2GRAY))
        cells = (np.arange(GRID) + 0.5) * (side / GRID)
        x, y = cells + left, cells + top
        self._inside = np.outer((y >= 0) & (y < height), (x >= 0) & (x < width))
        self._own = self._inside & _nearest(x, y, boxes, index)
        across, down = (x - (x1 + x2) / 2) / max((x2 - x1) / 2, 1), (y - (y1 + y2) / 2) / max((y2 - y1) / 2, 1)
        self._distance = np.sqrt(across[None] ** 2 + down[:, None] ** 2).astype(np.float32)
        self._landmarks = None
        if landmarks is not None:
            self._landmarks = (landmarks.astype(np.float64) - (left, top)) * (GRID / side) - 0.5

    def measure(self, fake: Frame, gain: float, offset: NDArray[np.float32], share: float) -> FaceDifference:
        theirs = _gridded(fake, self._left, self._top, self._side)
        difference = cv2.subtract(theirs, self._grid, dtype=cv2.CV_32F)
        if gain != 1 or offset.any():
            difference -= self._grid * (gain - 1) + offset
        if not self._inside.all():
            difference *= self._inside[..., None]
        x1, y1, x2, y2 = map(float, self._box)
        return FaceDifference(
            grid=difference,
            texture=self._texture,
            distance=self._distance,
            own=self._own,
            left=self._left,
            top=self._top,
            side=self._side,
            box=(x1, y1, x2, y2),
            landmarks=self._landmarks,
            gain=gain,
            offset=offset,
            outside_share=share,
        )


def _gridded(frame: Frame, left: int, top: int, side: int) -> NDArray[np.uint8]:
    """The square of a frame as uint8 [GRID, GRID, 3], averaged where it shrinks; its edge is repeated outside."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (max(left, 0), max(top, 0), min(left + side, width), min(top + side, height))
    if x2 <= x1 or y2 <= y1:
        return np.zeros((GRID, GRID, 3), np.uint8)
    square = frame[y1:y2, x1:x2]
    if side >= LARGE_SIDE:
        square = _quartered(frame, left, top, side)
    elif square.shape[:2] != (side, side):
        square = cv2.copyMakeBorder(
            square, y1 - top, top + side - y2, x1 - left, left + side - x2, cv2.BORDER_REPLICATE
        )
    while square.shape[0] >= 2 * GRID and square.shape[0] % 2 == 0:  # halving is many times faster than other areas
        square = cv2.resize(square, (square.shape[1] // 2, square.shape[0] // 2), interpolation=cv2.INTER_AREA)
    kind = cv2.INTER_AREA if square.shape[0] > GRID else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (GRID, GRID), interpolation=kind), np.uint8)


def _texture(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    across, down = (cv2.Sobel(luma, cv2.CV_32F, dx, dy, scale=1 / 8) for dx, dy in ((1, 0), (0, 1)))
    return np.asarray(np.sqrt(cv2.GaussianBlur(across * across + down * down, (0, 0), AREA)), np.float32)


def _quartered(frame: Frame, left: int, top: int, side: int) -> Frame:
    """The square at a quarter of its side, which is a multiple of 4: halved twice, a band of rows at a time.

    A square around a large face may have four times as many pixels as the frame.
    """
    height, width = frame.shape[:2]
    bands = []
    for start in range(top, top + side, BAND):
        rows = np.arange(start, min(start + BAND, top + side)).clip(0, height - 1)
        band = cv2.copyMakeBorder(
            frame[rows, max(left, 0) : left + side], 0, 0, max(-left, 0), max(left + side - width, 0),
            cv2.BORDER_REPLICATE,
        )  # fmt: skip
        for _ in range(2):
            band = cv2.resize(band, (band.shape[1] // 2, band.shape[0] // 2), interpolation=cv2.INTER_AREA)
        bands.append(band)
    return np.concatenate(bands)


def _nearest(
    x: NDArray[np.float64], y: NDArray[np.float64], boxes: NDArray[np.float64], index: int
) -> NDArray[np.bool_]:
    """Cells that are nearer to face `index` than to any other, in units of each face's box."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2, 1)

    def distance(face: int) -> NDArray[np.float64]:
        across, down = (x - centres[face, 0]) / halves[face, 0], (y - centres[face, 1]) / halves[face, 1]
        return np.asarray((across * across)[None] + (down * down)[:, None])

    nearest = np.ones((len(y), len(x)), np.bool_)
    for other in range(len(boxes)):
        if other != index:
            nearest &= distance(index) <= distance(other)
    return nearest


class _Surroundings:
    """What lies outside all enlarged faces. Only some pixels, on a regular grid, are looked at."""

    def __init__(self, real: Frame, boxes: NDArray[np.float64]) -> None:
        self._stride = stride = max(1, round((real.shape[0] * real.shape[1] / SAMPLES) ** 0.5))
        self._samples = np.ascontiguousarray(real[::stride, ::stride])
        height, width = len(self._samples), len(self._samples[0])
        self._outside = np.ones((height, width), np.uint8)
        for x1, y1, x2, y2 in boxes:
            grow = (FACE_MARGIN - 1) / 2 * max(x2 - x1, y2 - y1)
            columns = slice(max(int((x1 - grow) // stride), 0), max(int((x2 + grow) // stride) + 1, 0))
            rows = slice(max(int((y1 - grow) // stride), 0), max(int((y2 + grow) // stride) + 1, 0))
            self._outside[rows, columns] = 0
        self._size = (-(-width // BLOCK), -(-height // BLOCK))
        self._free = cv2.resize(self._outside * np.uint8(255), self._size, interpolation=cv2.INTER_AREA) == 255
        self._blocks = self._of_blocks(self._samples)

    def _of_blocks(self, samples: Frame) -> NDArray[np.uint8]:
        """Means of the free blocks [blocks, 3]."""
        return np.asarray(cv2.resize(samples, self._size, interpolation=cv2.INTER_AREA)[self._free], np.uint8)

    def compare(self, fake: Frame) -> tuple[float, NDArray[np.float32], float]:
        """Gain and offsets of a fake's frame, and the share of pixels that still differ strongly."""
        theirs = np.ascontiguousarray(fake[:: self._stride, :: self._stride])
        gain, offset = 1.0, np.zeros(3, np.float32)
        blocks = self._of_blocks(theirs)
        if len(blocks) >= FEWEST_BLOCKS and np.median(cv2.absdiff(self._blocks, blocks)) >= CHANGED:
            real_blocks, fake_blocks = self._blocks.astype(np.float32), blocks.astype(np.float32)
            gain = _gain(real_blocks.mean(axis=1), fake_blocks.mean(axis=1))
            offset = np.median(fake_blocks - gain * real_blocks, axis=0)
        levels = np.arange(256, dtype=np.float32)[:, None] * gain + offset  # [256, 3]
        expected = cv2.LUT(self._samples, np.rint(levels).clip(0, 255).astype(np.uint8)[None])
        luma = cv2.cvtColor(cv2.absdiff(expected, theirs), cv2.COLOR_RGB2GRAY)
        pixels = int(np.count_nonzero(self._outside))
        share = np.count_nonzero((luma > LARGE_DIFFERENCE) & (self._outside > 0)) / pixels if pixels else 0.0
        return gain, offset, share


def _gain(real: NDArray[np.float32], fake: NDArray[np.float32]) -> float:
    """Slope of a robust line from the gray levels of real blocks to those of fake ones.

    Dark, middle and bright blocks weigh alike: a large plain background weighs no more than what else is seen. The
    channels are taken together, as strong compression tints gray cloth.
    """
    change = fake - real
    bins = (real / BIN).astype(np.intp)
    counts = np.bincount(bins)
    balance = np.where(counts[bins] < FEWEST_OF_A_BIN, 0, 1 / np.maximum(counts[bins], WELL_KNOWN))
    slope, level = 0.0, float(np.median(change))
    for tolerance in (1e3, 4.0, 3.0):  # times the median residual
        residual = np.abs(change - level - slope * real)
        weight = balance * (residual <= tolerance * np.median(residual) + 2)
        if not (total := float(weight.sum())):
            return 1.0
        mean_x, mean_y = float(weight @ real) / total, float(weight @ change) / total
        away = real - mean_x
        slope = float(weight * away @ (change - mean_y)) / (float(weight @ (away * away)) + total * CONTRAST**2)
        level = mean_y - slope * mean_x
    return 1 + slope
