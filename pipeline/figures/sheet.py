"""Drawing functions for sheets of images: dark background, images in cells, small text.

Images are uint8 RGB [H, W, 3], lengths are pixels, and `(left, top)` is the first pixel drawn.
"""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from facemill.manifests.storage import write_atomically

__all__ = [
    "FAINT",
    "INK",
    "TINT",
    "Colour",
    "Image",
    "blank_sheet",
    "colour_bar",
    "is_sheet",
    "overlay_heat_map",
    "overlay_mask",
    "place",
    "png_of",
    "resize_square",
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
_TEXT_MARGIN = 1.1  # some OpenCV versions draw text wider than `getTextSize` says
_AUTHOR = ("Software", "facemill")  # text chunk of every sheet
_CELLS = 32  # maps up to this side are shown cell by cell


def blank_sheet(width: int, height: int) -> Image:
    return np.full((height, width, 3), _PAPER, np.uint8)


def resize_square(image: Image, side: int) -> Image:
    shrinks = image.shape[0] > side
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def overlay_mask(image: Image, mask: Image) -> Image:
    """Tint an image where a mask [H, W] of its size is not 0, and draw the mask's outline."""
    inside = (mask > 0).astype(np.uint8)
    tinted = np.where(inside[..., None] > 0, image * 0.68 + np.array(TINT) * 0.32, image * 0.75)
    drawn = np.ascontiguousarray(tinted.astype(np.uint8))
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, TINT, 1, cv2.LINE_AA)
    return drawn


def overlay_heat_map(image: Image, heat: NDArray[np.floating]) -> Image:
    """Overlay a heat map [h, w] in 0..1, blue to red, on an image in gray; cells of a small map stay visible."""
    height, width, _ = image.shape
    small = max(heat.shape) <= _CELLS
    levels = (np.clip(heat, 0, 1) * 255).round().astype(np.uint8)
    levels = cv2.resize(levels, (width, height), interpolation=cv2.INTER_NEAREST if small else cv2.INTER_LINEAR)
    colours = _apply_colour_map(levels)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(gray, 0.45, colours, 0.55, 0), np.uint8)


def colour_bar(width: int, height: int) -> Image:
    """Draw the colours of `overlay_heat_map`, from 0 on the left to 1 on the right."""
    return _apply_colour_map(np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1)))


def place(sheet: Image, image: Image, left: int, top: int) -> None:
    height, width, _ = image.shape
    sheet[top : top + height, left : left + width] = image


def write_text(sheet: Image, text: str, left: int, top: int, room: int, colour: Colour) -> None:
    """Write a line of ASCII text, shrunk to fit into `room`, its maximum width."""
    scale = _TEXT_SCALE
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    width = round(width * _TEXT_MARGIN)
    if width > room:
        scale *= room / width
    cv2.putText(sheet, text, (left, top + height), _FONT, scale, colour, 1, cv2.LINE_AA)


def png_of(sheet: Image) -> bytes:
    """Encode the sheet, marked as facemill's (see `is_sheet`)."""
    encoded, notes = BytesIO(), PngInfo()
    notes.add_text(*_AUTHOR)
    PIL.Image.fromarray(sheet).save(encoded, "PNG", pnginfo=notes)
    return encoded.getvalue()


def save_png(sheet: Image, path: Path) -> None:
    """Write the sheet atomically, as `png_of` encodes it."""
    write_atomically(path, png_of(sheet))


def is_sheet(path: Path) -> bool:
    """Whether a file was written by `save_png`, so that a later run may replace it."""
    name, value = _AUTHOR
    try:
        with PIL.Image.open(path, formats=("PNG",)) as image:
            return image.info.get(name) == value
    except Exception:  # Pillow does not document all exceptions that damaged headers raise
        return False


def _apply_colour_map(levels: Image) -> Image:
    """Convert levels [H, W], 0 to 255, to colours from blue to red."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB), np.uint8)
