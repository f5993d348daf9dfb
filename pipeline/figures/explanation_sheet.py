"""Explanation sheets: rows of crop, ground-truth mask, and the detector's heat maps over the crop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.figures.sheet import (
    FAINT,
    INK,
    TINT,
    Image,
    blank_sheet,
    colour_bar,
    overlay_heat_map,
    overlay_mask,
    place,
    resize_square,
    write_text,
)

__all__ = ["ExplanationRow", "explanation_sheet"]

_MARGIN, _GAP, _LABEL_HEIGHT, _TITLE_HEIGHT = 20, 10, 20, 56  # pixels
_LINE, _BAR_TOP, _BAR_HEIGHT = 18, 36, 6

Heat = NDArray[np.float32]


@dataclass(frozen=True)
class ExplanationRow:
    """One crop and its explanation.

    Attributes:
        caption: shown above the row, such as `FaceSwap  score 0.93`; ASCII.
        wrong: whether the detector misclassified it; highlights the caption.
        crop: uint8 RGB [S, S, 3].
        mask: uint8 [S, S], non-zero where forged; None if not known.
        maps: heat maps [h, w] over the crop by name, of any size, finite; the same names in all rows.
    """

    caption: str
    wrong: bool
    crop: Image
    mask: Image | None
    maps: Mapping[str, Heat]


def explanation_sheet(rows: Sequence[ExplanationRow], *, cell: int = 160, masks: bool = True) -> Image:
    """Draw a column of crops, one of masks, and one for each map, whose title gives its value range.

    Args:
        rows: at least one.
        cell: side of each image, pixels.
        masks: whether there is a column of masks.
    """
    ranges = {name: _range([row.maps[name] for row in rows]) for name in rows[0].maps}
    titles = ["crop", *(["true mask"] if masks else []), *ranges]
    width = 2 * _MARGIN + len(titles) * (cell + _GAP) - _GAP
    row_height = _LABEL_HEIGHT + cell + _GAP
    sheet = blank_sheet(width, 2 * _MARGIN + _TITLE_HEIGHT + len(rows) * row_height)
    for column, title in enumerate(titles):
        left = _MARGIN + column * (cell + _GAP)
        write_text(sheet, title, left, _MARGIN, cell, INK)
        if title in ranges:
            write_text(sheet, _scale(*ranges[title]), left, _MARGIN + _LINE, cell, FAINT)
            place(sheet, colour_bar(cell, _BAR_HEIGHT), left, _MARGIN + _BAR_TOP)
    for position, row in enumerate(rows):
        top = _MARGIN + _TITLE_HEIGHT + position * row_height
        write_text(sheet, row.caption, _MARGIN, top, width - 2 * _MARGIN, TINT if row.wrong else FAINT)
        for column, image in enumerate(_images(row, ranges, cell, masks=masks)):
            place(sheet, image, _MARGIN + column * (cell + _GAP), top + _LABEL_HEIGHT)
    return sheet


def _range(maps: Sequence[Heat]) -> tuple[float, float]:
    """Value range over all rows, so that maps can be compared between rows."""
    return min(float(heat.min()) for heat in maps), max(float(heat.max()) for heat in maps)


def _scale(low: float, high: float) -> str:
    """Format a range, with enough decimals to distinguish its ends."""
    decimals = int(np.clip(2 - np.floor(np.log10(high - low)), 0, 8)) if high > low else 2
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def _images(row: ExplanationRow, ranges: Mapping[str, tuple[float, float]], cell: int, *, masks: bool) -> list[Image]:
    crop = resize_square(row.crop, cell)
    images = [crop, _masked(crop, row.mask)] if masks else [crop]
    for name, (low, high) in ranges.items():
        heat = (row.maps[name] - low) / (high - low) if high > low else np.zeros_like(row.maps[name])
        images.append(overlay_heat_map(crop, heat))
    return images


def _masked(crop: Image, mask: Image | None) -> Image:
    if mask is None:
        unknown = blank_sheet(*crop.shape[:2])
        write_text(unknown, "unknown", 8, 8, len(crop) - 16, FAINT)
        return unknown
    return overlay_mask(crop, cv2.resize(mask, crop.shape[:2], interpolation=cv2.INTER_NEAREST))
