"""Thumbnails of films whose cuts are known: shots, and what happens to them."""

from pathlib import Path

import av
import cv2
import numpy as np

SIZE = (96, 54)  # width, height


def shot(media: Path, name: str, frames: int, first: int = 0) -> np.ndarray:
    """Gray thumbnails [N, 54, 96] of a continuous clip of the media."""
    images = []
    with av.open(str(media / name)) as container:
        for index, frame in enumerate(container.decode(container.streams.video[0])):
            if index >= first + frames:
                break
            if index >= first:
                images.append(cv2.resize(frame.to_ndarray(format="gray"), SIZE, interpolation=cv2.INTER_AREA))
    return np.stack(images)


def photo(media: Path, name: str, height: int = 400) -> np.ndarray:
    """A gray picture, through which a camera can be led."""
    image = cv2.imread(str(media / "images" / name), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(image, None, fx=height / image.shape[0], fy=height / image.shape[0])


def camera(image: np.ndarray, centres: np.ndarray, widths: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """Thumbnails of a camera that looks at windows (centre x, y [N, 2]; width [N]) of a picture."""
    frames = []
    for (x, y), width in zip(centres, widths, strict=True):
        zoom = SIZE[0] / width
        matrix = np.array([[zoom, 0, SIZE[0] / 2 - zoom * x], [0, zoom, SIZE[1] / 2 - zoom * y]])
        flags = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        soft = cv2.GaussianBlur(image, (0, 0), max(0.5 / zoom, 0.3))
        frame = cv2.warpAffine(soft, matrix, SIZE, flags=flags, borderMode=cv2.BORDER_REFLECT)
        frames.append(cv2.blur(frame, (max(1, round(blur)), 1)))
    return np.stack(frames)


def dissolve(first: np.ndarray, second: np.ndarray, length: int) -> np.ndarray:
    """Two shots that overlap by `length` frames: the middle of the dissolve is at `len(first) - length // 2`."""
    share = ((np.arange(length) + 0.5) / length)[:, None, None]
    mixed = (1 - share) * first[-length:] + share * second[:length]
    return np.concatenate([first[:-length], mixed.round().astype(np.uint8), second[length:]])


def fade(frames: np.ndarray, *, middle: int, half: int, black: int = 4) -> np.ndarray:
    """A shot that fades to black and comes back."""
    away = np.maximum(np.abs(np.arange(len(frames)) - middle) - black, 0)
    return (frames * np.minimum(away / half, 1)[:, None, None]).astype(np.uint8)


def flash(frames: np.ndarray, at: int, length: int, strength: float) -> np.ndarray:
    """A shot that is bleached for some frames, from the left more than from the right."""
    result = frames.astype(np.float32)
    light = np.linspace(1.2, 0.6, frames.shape[2]) * strength
    result[at : at + length] += light
    return np.clip(result, 0, 255).astype(np.uint8)
