"""A contact sheet: titled parts of captioned strips of pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facemill.pipeline.figures.sheet import FAINT, INK, Image, blank_sheet, fitted, place, save_png, write_text

__all__ = ["SheetPart", "Strip", "write_contact_sheet"]

_MARGIN, _GAP, _LABEL_HEIGHT, _TITLE_HEIGHT = 20, 6, 20, 34  # pixels
_COLUMNS = 9
"""Pictures beside each other, at most."""
_LABEL_COLUMNS = 3
"""Room for the label of a strip, at least."""


@dataclass(frozen=True)
class Strip:
    """Pictures side by side.

    Attributes:
        label: shown above them, such as `Deepfakes c23 000_001`; ASCII.
        pictures: uint8 RGB [S, S, 3]; of more than fit on the sheet the first are shown.
    """

    label: str
    pictures: Sequence[Image]


@dataclass(frozen=True)
class SheetPart:
    """Strips under a title."""

    title: str
    strips: Sequence[Strip]


def write_contact_sheet(parts: Sequence[SheetPart], path: Path, *, cell: int = 120) -> None:
    """Write a PNG of the parts, one below the other; short strips stand beside each other. Empty parts are left out.

    Args:
        path: the file to write.
        cell: side of each picture, pixels.
    """
    parts = [part for part in parts if part.strips]
    row_height = _LABEL_HEIGHT + cell + _GAP
    shelves = [list(_shelves(part.strips)) for part in parts]
    height = 2 * _MARGIN + sum(_TITLE_HEIGHT + len(rows) * row_height for rows in shelves)
    sheet = blank_sheet(2 * _MARGIN + _COLUMNS * (cell + _GAP) - _GAP, height)
    top = _MARGIN
    for part, rows in zip(parts, shelves, strict=True):
        write_text(sheet, part.title, _MARGIN, top + _GAP, sheet.shape[1] - 2 * _MARGIN, INK)
        top += _TITLE_HEIGHT
        for row in rows:
            column = 0
            for strip in row:
                column = _draw(sheet, strip, column, top, cell)
            top += row_height
    save_png(sheet, path)


def _shelves(strips: Sequence[Strip]) -> Iterator[list[Strip]]:
    """The strips in their order, in rows that are as wide as the sheet at most."""
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
    """Columns of a strip: a single picture has room for its label, too."""
    return min(max(len(strip.pictures), _LABEL_COLUMNS), _COLUMNS)


def _draw(sheet: Image, strip: Strip, column: int, top: int, cell: int) -> int:
    """Draw a strip from a column on; returns the column after it."""
    pictures = strip.pictures[:_COLUMNS]
    left = _MARGIN + column * (cell + _GAP)
    write_text(sheet, strip.label, left, top, _width(strip) * (cell + _GAP) - 2 * _GAP, FAINT)
    for number, picture in enumerate(pictures):
        place(sheet, fitted(picture, cell), left + number * (cell + _GAP), top + _LABEL_HEIGHT)
    return column + _width(strip)
