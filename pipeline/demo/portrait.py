"""The photograph that every demo subject is made from, with landmarks and outlines.

It is NASA's portrait of Eileen Collins, in the public domain, which scikit-image's wheel contains as
`skimage.data.astronaut()`. The points below, (x, y) in its pixels, were marked by hand, so that warping it needs no
face detector.

Everything else in this package works on the *patch*: the left part of the photograph, from head to chest, enlarged
`PATCH_SCALE` times. Coordinates follow OpenCV: integers are pixel centres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill import ConfigError

__all__ = [
    "BROWS",
    "EYES",
    "HAIR_OUTLINE",
    "INNER_LIPS",
    "JAW",
    "LANDMARKS",
    "LIPS",
    "NOSE",
    "PATCH_SCALE",
    "PATCH_SIZE",
    "FloatArray",
    "Portrait",
    "load_portrait",
]

FloatArray = NDArray[np.float32]

PATCH_SCALE = 2
PATCH_SIZE = 800  # side of the square patch, pixels

# 68 landmarks in the usual order: jaw, brows, nose, eyes, outer and inner lips, each from the viewer's left.
LANDMARKS: FloatArray = np.array(
    [
        *[(182, 100), (181, 112), (182, 125), (184, 138), (187, 151), (193, 161), (202, 170), (213, 176)],
        *[(225, 178), (237, 176), (247, 171), (255, 163), (261, 154), (265, 144), (268, 132), (270, 117), (270, 101)],
        *[(190, 90), (196, 88), (202, 88), (208, 90), (213, 93)],
        *[(237, 94), (243, 92), (250, 91), (257, 92), (262, 96)],
        *[(225, 102), (224, 110), (224, 118), (223, 126), (214, 130), (219, 132), (224, 134), (229, 133), (234, 131)],
        *[(192, 101), (198, 97), (205, 97), (212, 102), (205, 105), (198, 104)],
        *[(236, 105), (242, 100), (249, 100), (259, 104), (251, 108), (243, 107)],
        *[(202, 139), (211, 139), (219, 140), (225, 141), (231, 140), (239, 139), (248, 139)],
        *[(242, 148), (234, 153), (224, 155), (214, 152), (207, 147)],
        *[(206, 141), (213, 143), (223, 144), (233, 144), (244, 141), (233, 150), (223, 151), (213, 149)],
    ],
    np.float32,
)
JAW, BROWS, NOSE, LIPS, INNER_LIPS = slice(0, 17), slice(17, 27), slice(27, 36), slice(48, 60), slice(60, 68)
EYES = (slice(36, 42), slice(42, 48))

# From the ear on the viewer's left over the crown to the other ear, then down the neck and up again.
HAIR_OUTLINE: FloatArray = np.array(
    [
        *[(171, 118), (159, 107), (155, 90), (154, 70), (164, 52), (181, 41), (200, 28), (220, 20), (241, 18)],
        *[(260, 25), (276, 34), (286, 45), (294, 60), (299, 80), (299, 98), (290, 114), (278, 127)],
    ],
    np.float32,
)
_HAIRLINE = [(270, 118), (268, 97), (261, 89), (247, 85), (222, 80), (200, 80), (190, 72), (185, 80), (181, 105)]
_NECK = [
    *[(276, 132), (268, 136), (264, 151), (255, 172), (251, 185), (233, 190), (205, 185), (188, 178)],
    *[(186, 160), (184, 142), (178, 129), (172, 119)],
]
_SHOULDERS = [(26, 400), (31, 325), (46, 275), (76, 237), (112, 210), (122, 185), (146, 156), (185, 149)]
_SHOULDERS_RIGHT = [(262, 179), (287, 203), (305, 245), (334, 253), (351, 290), (360, 345), (360, 400)]


@dataclass(frozen=True)
class Portrait:
    """The patch, and masks of its parts.

    Attributes:
        image: float32 RGB in 0..1, [PATCH_SIZE, PATCH_SIZE, 3].
        body, skin, hair, suit: soft masks in 0..1, [PATCH_SIZE, PATCH_SIZE]; `skin` excludes eyes and mouth, which
            keep their colour; `suit` is the orange cloth.
    """

    image: FloatArray
    body: FloatArray
    skin: FloatArray
    hair: FloatArray
    suit: FloatArray


@cache
def load_portrait() -> Portrait:
    """Load the photograph as a patch, and compute the masks of its parts.

    Raises:
        ConfigError: if scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise ConfigError(
            "The demo's videos are made from a portrait that comes with scikit-image: pip install 'facemill[demo]'."
        ) from None
    side = PATCH_SIZE // PATCH_SCALE
    photograph = data.astronaut()[:side, :side].astype(np.float32) / 255
    image = cv2.resize(photograph, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    hair_outline = HAIR_OUTLINE.tolist()
    body = fill([*_SHOULDERS, *_NECK[8:10], *hair_outline, *_NECK[:4], *_SHOULDERS_RIGHT], 1.2)
    head, skin = fill([*hair_outline, *_NECK], 1.2), fill([*_HAIRLINE[::-1], *_NECK], 2.0)
    kept = np.maximum.reduce([fill(LANDMARKS[part], 2.0) for part in (*EYES, INNER_LIPS)])
    orange = (image[..., 0] - image[..., 2] - 0.25) / 0.15  # redder than any skin or metal in the photograph
    return Portrait(
        image=image,
        body=body,
        skin=skin * head * (1 - 0.8 * kept),
        hair=head * (1 - skin),
        suit=np.clip(orange, 0, 1) * body * (1 - head),
    )


def fill(polygon: Sequence[Sequence[float]] | FloatArray, softness: float) -> FloatArray:
    """Draw a polygon as a soft mask.

    Args:
        polygon: [N, 2], pixels of the photograph.
        softness: sigma of the edge, pixels of the patch.

    Returns:
        float32 in 0..1, [PATCH_SIZE, PATCH_SIZE].
    """
    mask = np.zeros((PATCH_SIZE, PATCH_SIZE), np.float32)
    points = np.rint(np.array(polygon) * PATCH_SCALE * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 1.0, lineType=cv2.LINE_8, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), softness), np.float32)
