"""The one photograph that every demo subject is made from, and where its parts lie.

It is NASA's portrait of Eileen Collins, in the public domain, which scikit-image carries in its wheel
as `skimage.data.astronaut()`. The points below were read off that picture once, so that no face
detector is needed to warp it: they are (x, y) in its pixels.

Everything else in this package works on the *patch*: the picture's left part, head to chest, enlarged
`PATCH_SCALE` times. Points follow OpenCV here: integers are pixel centres.
"""

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
    "fill",
    "load_portrait",
]

FloatArray = NDArray[np.float32]

PATCH_SCALE = 2
PATCH_SIZE = 800  # side of the square patch, pixels

# 68 landmarks in the usual order: jaw, brows, nose, eyes, outer and inner lips, each from viewer-left.
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

# From the viewer-left ear over the crown to the viewer-right ear.
HAIR_OUTLINE: FloatArray = np.array(
    [
        *[(171, 118), (165, 113), (159, 107), (157, 100), (155, 90), (154, 80), (154, 70), (157, 60), (164, 52)],
        *[(171, 46), (181, 41), (191, 35), (200, 28), (208, 23), (220, 20), (231, 17), (241, 18), (250, 21)],
        *[(260, 25), (268, 30), (276, 34), (282, 40), (286, 45), (290, 52), (294, 60), (297, 70), (299, 80)],
        *[(300, 88), (299, 98), (296, 106), (290, 114), (283, 121), (278, 127)],
    ],
    np.float32,
)
_HAIRLINE = [
    *[(270, 127), (270, 118), (269, 108), (268, 97), (266, 90), (261, 89), (254, 87), (247, 85), (240, 82), (232, 80)],
    *[(222, 80), (215, 80), (208, 81), (200, 80), (196, 77), (190, 72), (187, 74), (185, 80), (184, 88), (183, 95)],
    *[(181, 105), (180, 115)],
]
_RIGHT_EAR_TO_NECK = [(278, 128), (276, 132), (272, 135), (268, 136), (267, 142), (264, 151), (258, 160), (255, 172)]
_NECK_BASE = [(253, 181), (251, 185), (240, 189), (233, 190), (225, 188), (205, 185), (195, 183), (188, 178)]
_NECK_TO_LEFT_EAR = [(187, 170), (186, 160), (186, 152), (184, 142), (182, 132), (178, 129), (174, 124), (172, 119)]
_SHOULDERS = [
    *[(26, 400), (26, 375), (26, 345), (31, 325), (39, 300), (46, 275), (59, 252), (76, 237), (95, 221), (112, 210)],
    *[(114, 198), (117, 189), (122, 185), (126, 174), (134, 164), (146, 156), (160, 151), (175, 149), (185, 149)],
]
_SHOULDERS_RIGHT = [
    *[(262, 179), (275, 189), (287, 203), (296, 219), (303, 236), (305, 245), (318, 241), (334, 253), (344, 268)],
    *[(351, 290), (357, 315), (360, 345), (360, 400)],
]
_HEAD = np.array([*HAIR_OUTLINE.tolist(), *_RIGHT_EAR_TO_NECK, *_NECK_BASE, *_NECK_TO_LEFT_EAR], np.float32)
_SKIN = np.array([*_HAIRLINE[::-1], *_RIGHT_EAR_TO_NECK, *_NECK_BASE, *_NECK_TO_LEFT_EAR], np.float32)
_BODY = np.array(
    [*_SHOULDERS, *_NECK_TO_LEFT_EAR[4:], *HAIR_OUTLINE.tolist(), *_RIGHT_EAR_TO_NECK, *_SHOULDERS_RIGHT], np.float32
)


@dataclass(frozen=True)
class Portrait:
    """The patch and its parts.

    Attributes:
        image: float32 RGB in 0..1, [PATCH_SIZE, PATCH_SIZE, 3].
        body, head, skin, hair, suit, features: soft masks in 0..1, [PATCH_SIZE, PATCH_SIZE]; `head` is
            hair, face and neck, `suit` the orange cloth, `features` eyes and teeth (which keep their colour).
    """

    image: FloatArray
    body: FloatArray
    head: FloatArray
    skin: FloatArray
    hair: FloatArray
    suit: FloatArray
    features: FloatArray


@cache
def load_portrait() -> Portrait:
    """Cut the astronaut out of her picture.

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
    picture = data.astronaut()[:side, :side].astype(np.float32) / 255
    image = cv2.resize(picture, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    body, head, skin = fill(_BODY, 1.2), fill(_HEAD, 1.2), fill(_SKIN, 2.0)
    eyes = np.maximum(fill(LANDMARKS[EYES[0]], 2.0), fill(LANDMARKS[EYES[1]], 2.0))
    orange = (image[..., 0] - image[..., 2] - 0.25) / 0.15  # redder than any skin or metal in the picture
    return Portrait(
        image=image,
        body=body,
        head=head,
        skin=skin * head,
        hair=head * (1 - skin),
        suit=np.clip(orange, 0, 1) * body * (1 - head),
        features=np.maximum(eyes, fill(LANDMARKS[INNER_LIPS], 1.5)),
    )


def fill(polygon: FloatArray, softness: float) -> FloatArray:
    """A soft mask of a polygon.

    Args:
        polygon: [N, 2], pixels of the picture.
        softness: sigma of the edge, pixels of the patch; 0 for a hard edge.

    Returns:
        float32 in 0..1, [PATCH_SIZE, PATCH_SIZE].
    """
    mask = np.zeros((PATCH_SIZE, PATCH_SIZE), np.float32)
    points = np.rint(polygon * PATCH_SCALE * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 1.0, lineType=cv2.LINE_8, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), softness) if softness > 0 else mask
