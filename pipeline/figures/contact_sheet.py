"""Contact sheets: titled parts with labelled strips of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facemill.pipeline.figures.sheet import FAINT, INK, Image, blank_sheet, place, resize_square, save_png, write_text

__all__ = ["SheetPart", "Strip", "write_contact_sheet"]

_MARGIN, _GAP, _LABEL_HEIGHT, _TITLE_HEIGHT = 20, 6, 20, 34  # pixels
_COLUMNS = 9
"""Maximum images per row."""
_LABEL_COLUMNS = 3
"""Minimum width of a strip, so that its label fits."""


@dataclass(frozen=True)
class Strip:
    """Images side by side.

    Attributes:
        label: shown above them, such as `Deepfakes c23 000_001`; ASCII.
        images: uint8 RGB [S, S, 3]; only as many as fit on the sheet are shown.
    """

    label: str
    images: Sequence[Image]


@dataclass(frozen=True)
class SheetPart:
    """Strips under a title."""

    title: str
    strips: Sequence[Strip]


def write_contact_sheet(parts: Sequence[SheetPart], path: Path, *, cell: int = 120) -> None:
    """Write a PNG of the parts, one below the other, with short strips side by side; empty parts are left out.

    Args:
        cell: side of each image, pixels.
    """
    parts = [part for part in parts if part.strips]
    row_height = _LABEL_HEIGHT + cell + _GAP
    rows_by_part = [list(_rows(part.strips)) for part in parts]
    height = 2 * _MARGIN + sum(_TITLE_HEIGHT + len(rows) * row_height for rows in rows_by_part)
    sheet = blank_sheet(2 * _MARGIN + _COLUMNS * (cell + _GAP) - _GAP, height)
    top = _MARGIN
    for part, rows in zip(parts, rows_by_part, strict=True):
        write_text(sheet, part.title, _MARGIN, top + _GAP, sheet.shape[1] - 2 * _MARGIN, INK)
        top += _TITLE_HEIGHT
        for row in rows:
            column = 0
            for strip in row:
                column = _draw(sheet, strip, column, top, cell)
            top += row_height
    save_png(sheet, path)


def _rows(strips: Sequence[Strip]) -> Iterator[list[Strip]]:
    """Arrange strips, in order, into rows no wider than the sheet."""
    row: list[Strip] = []
    used = 0
    for strip in strips:
        width = _width(strip)
        if row and used + width > _COLUMNS:
            yield row
            row, used = [], 0
        row.append(strip)
        used += width
    if row:
        yield row


def _width(strip: Strip) -> int:
    """Columns of a strip, at least enough for its label."""
    return min(max(len(strip.images), _LABEL_COLUMNS), _COLUMNS)


def _draw(sheet: Image, strip: Strip, column: int, top: int, cell: int) -> int:
    """Draw a strip starting at a column; returns the column after it."""
    images = strip.images[:_COLUMNS]
    left = _MARGIN + column * (cell + _GAP)
    write_text(sheet, strip.label, left, top, _width(strip) * (cell + _GAP) - 2 * _GAP, FAINT)
    for number, image in enumerate(images):
        place(sheet, resize_square(image, cell), left + number * (cell + _GAP), top + _LABEL_HEIGHT)
    return column + _width(strip)
