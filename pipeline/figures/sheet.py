"""What contact sheets are drawn with: dark paper, pictures in cells, small text.

Pictures are uint8 RGB [H, W, 3], lengths are pixels, and `(left, top)` is the first pixel drawn to.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill.manifests.storage import write_atomically

__all__ = [
    "FAINT",
    "INK",
    "TINT",
    "Colour",
    "Image",
    "blank_sheet",
    "colour_bar",
    "fitted",
    "heat_over",
    "mask_over",
    "place",
    "save_png",
    "write_text",
]

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

_PAPER: Colour = (24, 24, 27)
INK: Colour = (235, 235, 235)
FAINT: Colour = (150, 150, 155)
TINT: Colour = (255, 64, 64)

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT_SCALE = 0.45  # of a 22 pixel font
_WIDER = 1.1  # than OpenCV says is what some of its versions draw
_CELLS = 32  # maps up to this side are shown cell by cell


def blank_sheet(width: int, height: int) -> Image:
    """A sheet of nothing but paper."""
    return np.full((height, width, 3), _PAPER, np.uint8)


def fitted(picture: Image, side: int) -> Image:
    """The picture as a square of that side."""
    shrinks = picture.shape[0] > side
    resized = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def mask_over(picture: Image, mask: Image) -> Image:
    """The picture with a mask [H, W] of its size (not zero: inside) tinted in, and its outline drawn around."""
    inside = (mask > 0).astype(np.uint8)
    tinted = np.where(inside[..., None] > 0, picture * 0.68 + np.array(TINT) * 0.32, picture * 0.75)
    drawn = np.ascontiguousarray(tinted.astype(np.uint8))
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, TINT, 1, cv2.LINE_AA)
    return drawn


def heat_over(picture: Image, heat: NDArray[np.floating]) -> Image:
    """The picture in gray with a heat map [h, w] of 0..1 over it, blue to red; a small map's cells stay visible."""
    height, width, _ = picture.shape
    small = max(heat.shape) <= _CELLS
    levels = (np.clip(heat, 0, 1) * 255).round().astype(np.uint8)
    levels = cv2.resize(levels, (width, height), interpolation=cv2.INTER_NEAREST if small else cv2.INTER_LINEAR)
    colours = _coloured(levels)
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(gray, 0.45, colours, 0.55, 0), np.uint8)


def colour_bar(width: int, height: int) -> Image:
    """The colours of `heat_over`, from 0 on the left to 1 on the right."""
    return _coloured(np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1)))


def place(sheet: Image, picture: Image, left: int, top: int) -> None:
    """Put a picture on the sheet."""
    height, width, _ = picture.shape
    sheet[top : top + height, left : left + width] = picture


def write_text(sheet: Image, text: str, left: int, top: int, room: int, colour: Colour) -> None:
    """Write a line of ASCII text, made small enough for the room it has."""
    scale = _TEXT_SCALE
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    width = round(width * _WIDER)
    if width > room:
        scale *= room / width
    cv2.putText(sheet, text, (left, top + height), _FONT, scale, colour, 1, cv2.LINE_AA)


def save_png(sheet: Image, path: Path) -> None:
    """Write the sheet, whole or not at all."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    write_atomically(path, encoded.tobytes())


def _coloured(levels: Image) -> Image:
    """Levels [H, W] of 0 to 255 as colours from blue to red."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB), np.uint8)
