"""A contact sheet: rows of real crop, fake crop, and the forgery mask over the fake."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from facemill.pipeline.figures.sheet import (
    FAINT,
    INK,
    Image,
    blank_sheet,
    fitted,
    mask_over,
    place,
    save_png,
    write_text,
)

__all__ = ["ContactRow", "write_contact_sheet"]

_TITLES = ("real", "fake", "mask over fake")
_MARGIN, _GAP, _LABEL_HEIGHT, _TITLE_HEIGHT = 20, 10, 20, 30  # pixels


@dataclass(frozen=True)
class ContactRow:
    """One real/fake pair.

    Attributes:
        label: shown above the row, such as `Deepfakes · c23 · 000_001`; ASCII.
        real, fake: uint8 RGB [S, S, 3].
        mask: uint8 [S, S], not zero where the fake is forged.
    """

    label: str
    real: Image
    fake: Image
    mask: Image


def write_contact_sheet(rows: Sequence[ContactRow], path: Path, *, cell: int = 160) -> None:
    """Write a PNG with a row of three pictures for each pair; more than four rows stand in two columns.

    Args:
        path: the file to write.
        cell: side of each picture, pixels.
    """
    blocks = 2 if len(rows) > 4 else 1
    tall = -(-len(rows) // blocks)  # rows a block
    block_width = 3 * cell + 2 * _GAP
    width = blocks * block_width + (blocks + 1) * _MARGIN
    row_height = _LABEL_HEIGHT + cell + _GAP
    sheet = blank_sheet(width, 2 * _MARGIN + _TITLE_HEIGHT + tall * row_height)
    for block in range(blocks):
        left = _MARGIN + block * (block_width + _MARGIN)
        for column, title in enumerate(_TITLES):
            write_text(sheet, title, left + column * (cell + _GAP), _MARGIN, cell, INK)
        for position, row in enumerate(rows[block * tall : (block + 1) * tall]):
            _draw_row(sheet, row, left, _MARGIN + _TITLE_HEIGHT + position * row_height, cell)
    save_png(sheet, path)


def _draw_row(sheet: Image, row: ContactRow, left: int, top: int, cell: int) -> None:
    write_text(sheet, row.label, left, top, 3 * cell + 2 * _GAP, FAINT)
    real, fake = fitted(row.real, cell), fitted(row.fake, cell)
    mask = cv2.resize(row.mask, (cell, cell), interpolation=cv2.INTER_NEAREST)
    for column, picture in enumerate((real, fake, mask_over(fake, mask))):
        place(sheet, picture, left + column * (cell + _GAP), top + _LABEL_HEIGHT)
