"""A contact sheet: rows of real crop, fake crop, and the forgery mask over the fake."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["ContactRow", "write_contact_sheet"]

Image = NDArray[np.uint8]

_TITLES = ("real", "fake", "mask over fake")
_PAPER, _INK, _FAINT, _TINT = (24, 24, 27), (235, 235, 235), (150, 150, 155), (255, 64, 64)  # RGB
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MARGIN, _GAP, _LABEL_HEIGHT, _TITLE_HEIGHT = 20, 10, 20, 30  # pixels
_TEXT_SCALE = 0.45  # of a 22 pixel font


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
        path: the file to write; its folder must exist.
        cell: side of each picture, pixels.
    """
    blocks = 2 if len(rows) > 4 else 1
    tall = -(-len(rows) // blocks)  # rows a block
    block_width = 3 * cell + 2 * _GAP
    width = blocks * block_width + (blocks + 1) * _MARGIN
    row_height = _LABEL_HEIGHT + cell + _GAP
    sheet = np.full((2 * _MARGIN + _TITLE_HEIGHT + tall * row_height, width, 3), _PAPER, np.uint8)
    for block in range(blocks):
        left = _MARGIN + block * (block_width + _MARGIN)
        for column, title in enumerate(_TITLES):
            _write(sheet, title, left + column * (cell + _GAP), _MARGIN, cell, _INK)
        for place, row in enumerate(rows[block * tall : (block + 1) * tall]):
            _draw_row(sheet, row, left, _MARGIN + _TITLE_HEIGHT + place * row_height, cell)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    path.write_bytes(encoded.tobytes())


def _draw_row(sheet: Image, row: ContactRow, left: int, top: int, cell: int) -> None:
    _write(sheet, row.label, left, top, 3 * cell + 2 * _GAP, _FAINT)
    real, fake = _fitted(row.real, cell), _fitted(row.fake, cell)
    mask = cv2.resize(row.mask, (cell, cell), interpolation=cv2.INTER_NEAREST)
    for column, picture in enumerate((real, fake, _overlaid(fake, mask))):
        x, y = left + column * (cell + _GAP), top + _LABEL_HEIGHT
        sheet[y : y + cell, x : x + cell] = picture


def _fitted(picture: Image, cell: int) -> Image:
    shrinks = picture.shape[0] > cell
    fitted = cv2.resize(picture, (cell, cell), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(fitted)


def _overlaid(picture: Image, mask: Image) -> Image:
    """The picture with the mask tinted in, and its outline drawn around."""
    inside = (mask > 0).astype(np.uint8)
    tinted = np.where(inside[..., None] > 0, picture * 0.68 + np.array(_TINT) * 0.32, picture * 0.75)
    drawn = np.ascontiguousarray(tinted.astype(np.uint8))
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, _TINT, 1, cv2.LINE_AA)
    return drawn


def _write(sheet: Image, text: str, left: int, top: int, room: int, colour: tuple[int, int, int]) -> None:
    """A line of text whose top-left corner is given, made small enough for the room it has."""
    scale = _TEXT_SCALE
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    if width > room:
        scale *= room / width
    cv2.putText(sheet, text, (left, top + height), _FONT, scale, colour, 1, cv2.LINE_AA)
