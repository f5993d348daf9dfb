"""What a demo subject wears: skin, hair, beard, glasses and clothes, painted over the portrait.

Everything here happens in the portrait's own geometry; `subject` then gives each subject a face shape.
"""

import cv2
import numpy as np

from facemill.pipeline.demo.portrait import (
    BROWS,
    EYES,
    HAIR_OUTLINE,
    JAW,
    LANDMARKS,
    LIPS,
    PATCH_SCALE,
    PATCH_SIZE,
    FloatArray,
    Portrait,
    fill,
)
from facemill.pipeline.demo.texture import smooth_noise

__all__ = ["LUMA", "TONES", "dress"]

LUMA: FloatArray = np.array([0.299, 0.587, 0.114], np.float32)

# Skin and the colours of hair that go with it.
_TONES = {
    "light": (
        ((0.86, 0.71, 0.63), (0.84, 0.66, 0.55), (0.82, 0.67, 0.52)),
        ((0.62, 0.50, 0.30), (0.45, 0.30, 0.16), (0.46, 0.23, 0.13), (0.58, 0.57, 0.56), (0.22, 0.15, 0.10)),
    ),
    "tan": (
        ((0.74, 0.55, 0.42), (0.72, 0.54, 0.38), (0.76, 0.57, 0.46)),
        ((0.13, 0.10, 0.09), (0.27, 0.18, 0.11), (0.38, 0.26, 0.16)),
    ),
    "brown": (
        ((0.63, 0.44, 0.33), (0.58, 0.40, 0.29), (0.60, 0.43, 0.28)),
        ((0.09, 0.08, 0.08), (0.16, 0.11, 0.08), (0.26, 0.16, 0.10), (0.42, 0.41, 0.40)),
    ),
}
TONES = tuple(_TONES)

_CLOTH = (
    *[(0.15, 0.22, 0.42), (0.55, 0.12, 0.14), (0.12, 0.36, 0.28), (0.80, 0.78, 0.72), (0.13, 0.13, 0.15)],
    *[(0.75, 0.55, 0.15), (0.42, 0.24, 0.45), (0.35, 0.52, 0.66), (0.45, 0.38, 0.30)],
)


def dress(rng: np.random.Generator, portrait: Portrait, tone: str) -> tuple[FloatArray, FloatArray]:
    """Paint one person's colours, hair and clothes over the portrait.

    Args:
        tone: one of `TONES`: what skin and hair to draw from.

    Returns:
        float32 RGB in 0..1, [PATCH_SIZE, PATCH_SIZE, 3], and its opacity, [PATCH_SIZE, PATCH_SIZE].
    """
    skin, hair = (_pick(rng, palette) for palette in _TONES[tone])
    head = _recolour(
        portrait.image,
        portrait.skin * (1 - 0.8 * portrait.features),
        skin,
        rng.uniform(0.9, 1.2),
        keep_hue=tone == "light",
    )
    head = _recolour(head, portrait.hair, hair, rng.uniform(0.8, 1.2))
    head = _makeup(rng, head, hair)
    if rng.random() < 0.35:
        head = _beard(rng, head, hair)
    if rng.random() < 0.3:
        head = _glasses(rng, head)
    suit, long_hair = rng.random() < 0.2, rng.random() < 0.5
    image, alpha = _space_suit(rng, portrait) if suit else _pullover(rng)
    if long_hair and not suit:
        image, alpha = _over(image, alpha, *_long_hair(rng, portrait, hair))
    image, alpha = _over(image, alpha, head, portrait.head)
    if rng.random() < 0.25:
        image, alpha = _over(image, alpha, *_knitted_cap(rng))
    return image, alpha


def _pick(rng: np.random.Generator, palette: tuple[tuple[float, float, float], ...]) -> FloatArray:
    """A colour of the palette, a little off."""
    return (
        np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.93, 1.07) * rng.uniform(0.98, 1.02, 3)
    ).astype(np.float32)


def _over(
    below: FloatArray, opacity: FloatArray, above: FloatArray, cover: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Lay a picture over another one; the colour under a soft edge is that of whatever is there."""
    bare = opacity < 0.01
    share = np.where(bare, np.float32(1), cover)[..., None]
    return below * (1 - share) + above * share, np.maximum(opacity, cover)


def _recolour(
    image: FloatArray, mask: FloatArray, colour: FloatArray, contrast: float, *, keep_hue: bool = False
) -> FloatArray:
    """Give a region another mean colour and keep its light and shade, and with `keep_hue` its shades of colour."""
    core = mask > 0.9
    shades = image if keep_hue else np.repeat((image @ LUMA)[..., None], 3, axis=2)
    shade = (shades / shades[core].mean(axis=0)).clip(0.02, 2.2)
    tinted = (shade ** np.float32(contrast) * colour).clip(0, 1)
    return np.asarray(image + (tinted - image) * mask[..., None], np.float32)


def _stroke(points: FloatArray, thickness: float, softness: float) -> FloatArray:
    """A soft mask of a line through points of the picture; thickness in its pixels."""
    mask = np.zeros((PATCH_SIZE, PATCH_SIZE), np.float32)
    line = np.rint(points * PATCH_SCALE * 16).astype(np.int32)
    cv2.polylines(mask, [line], False, 1.0, max(1, round(thickness * PATCH_SCALE)), cv2.LINE_8, shift=4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), softness), np.float32)


def _makeup(rng: np.random.Generator, image: FloatArray, hair: FloatArray) -> FloatArray:
    """Brows of the hair's colour, thin or bushy, and lips between pale and red."""
    brows = LANDMARKS[BROWS]
    thickness, strength = rng.uniform(1.5, 4.5), rng.uniform(0.3, 0.85)
    mask = np.maximum(_stroke(brows[:5], thickness, 1.6), _stroke(brows[5:], thickness, 1.6)) * np.float32(strength)
    image = image + (image * 0.25 + hair * 0.35 - image) * mask[..., None]
    lips = fill(LANDMARKS[LIPS], 1.5) * (1 - fill(LANDMARKS[60:68], 1.0)) * np.float32(rng.uniform(0, 0.7))
    tint = np.array([rng.uniform(0.8, 1.0), rng.uniform(0.45, 0.75), rng.uniform(0.5, 0.75)], np.float32)
    return image + (image * tint - image) * lips[..., None]


def _beard(rng: np.random.Generator, image: FloatArray, hair: FloatArray) -> FloatArray:
    """Anything from stubble to a full beard along the jaw, around the lips."""
    jaw = LANDMARKS[JAW]
    cheeks = np.array([(258, 138), (248, 136), (236, 134), (224, 137), (213, 134), (203, 135), (192, 136)], np.float32)
    region = np.concatenate([jaw[3:14] + np.array([0, 2], np.float32), cheeks])
    mask = fill(region, 5.0) * (1 - fill(LANDMARKS[LIPS], 2.0))
    bristles = 0.5 + 0.35 * smooth_noise(rng, (PATCH_SIZE, PATCH_SIZE), (1.5, 3.5))
    density = mask * np.clip(bristles + rng.uniform(-0.2, 0.4), 0, 1) * np.float32(rng.uniform(0.4, 0.9))
    return np.asarray(image + (image * hair * 0.8 + hair * 0.25 - image) * density[..., None], np.float32)


def _glasses(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Round to oblong frames, dark or metal."""
    rims = np.zeros((PATCH_SIZE, PATCH_SIZE), np.float32)
    half = np.array([rng.uniform(14, 17), rng.uniform(10, 14)])
    centres = [LANDMARKS[eye].mean(axis=0) + np.array([0, 1.5]) for eye in EYES]
    thickness = int(rng.integers(2, 5))
    for centre in centres:
        centre_px, half_px = (tuple(int(v) for v in np.rint(pair * PATCH_SCALE)) for pair in (centre, half))
        cv2.ellipse(rims, centre_px, half_px, 2.5, 0, 360, 1.0, thickness, cv2.LINE_8)
    bridge = np.array([centres[0] + (half[0], -1), centres[1] - (half[0], 1)], np.float32)
    left = np.array([centres[0] - (half[0], 0), (182, 100)], np.float32)
    right = np.array([centres[1] + (half[0], 0), (269, 103)], np.float32)
    mask = cv2.GaussianBlur(rims, (0, 0), 0.8)
    for line in (bridge, left, right):
        mask = np.maximum(mask, _stroke(line, thickness / PATCH_SCALE, 0.8))
    return np.asarray(image + (np.float32(rng.uniform(0.05, 0.4)) - image) * mask[..., None], np.float32)


def _space_suit(rng: np.random.Generator, portrait: Portrait) -> tuple[FloatArray, FloatArray]:
    return _recolour(portrait.image, portrait.suit, _pick(rng, _CLOTH), 1.0), portrait.body


def _pullover(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Shoulders in knitted cloth, up to behind the neck."""
    slope = rng.uniform(-8, 12)
    left = [(10, 402), (28, 300 + slope), (60, 246 + slope), (110, 222 + slope), (165, 203), (186, 176)]
    right = [(255, 175), (278, 204), (330, 224 + slope), (378, 250 + slope), (395, 300 + slope), (398, 402)]
    knit = smooth_noise(rng, (PATCH_SIZE, PATCH_SIZE), (3, rng.choice([3, 200]))) * 0.04
    folds = smooth_noise(rng, (PATCH_SIZE, PATCH_SIZE), (70, 160)) * 0.12
    hem = _stroke(np.array([left[-1], (196, 190), (224, 196), (245, 193), right[0]], np.float32), 5, 2.0)
    below_chin = fill(np.array([(180, 185), (262, 185), (250, 225), (195, 225)], np.float32), 14.0)
    shade = (1 + knit + folds) * (1 - 0.3 * hem) * (1 - 0.4 * below_chin)
    image = shade[..., None] * _pick(rng, _CLOTH)
    return image.clip(0, 1).astype(np.float32), fill(np.array([*left, *right], np.float32), 2.0)


def _long_hair(rng: np.random.Generator, portrait: Portrait, hair: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hair that falls beside the neck."""
    end, flare = rng.uniform(190, 255), rng.uniform(-4, 10)
    outer_left = [(155, 75), (155, 100), (158 - flare, 140), (154 - flare, end - 12), (166, end)]
    outer_right = [(282, end + 3), (298 + flare, end - 12), (296 + flare, 140), (299, 100), (298, 75)]
    region = np.array([*outer_left, (190, end - 4), (222, 180), (256, end - 4), *outer_right], np.float32)
    strands = smooth_noise(rng, (PATCH_SIZE, PATCH_SIZE), (4, 160)) * 0.16
    locks = smooth_noise(rng, (PATCH_SIZE, PATCH_SIZE), (22, 300)) * 0.16
    behind_neck = 1 - 0.55 * cv2.GaussianBlur(portrait.head, (0, 0), 14)
    image = (np.clip(0.85 + strands + locks, 0.15, 1.6) * behind_neck)[..., None] * hair
    tips = end * PATCH_SCALE - 12 + 7 * smooth_noise(rng, (PATCH_SIZE, 1), (7, 1))  # [1, PATCH_SIZE]
    fade = ((tips - np.arange(PATCH_SIZE)[:, None]) / 16).clip(0, 1).astype(np.float32)
    return image.clip(0, 1).astype(np.float32), fill(region, 3.0) * fade


def _knitted_cap(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A cap over the upper half of the hair, with a turned-up rim."""
    crown = (HAIR_OUTLINE[5:28] - np.array([226, 76])) * np.array([1.03, 1.06]) + np.array([226, 76])
    rim = np.array([(301, 74), (272, 69), (226, 66), (182, 69), (152, 75)])
    mask = fill(np.concatenate([crown, rim]).astype(np.float32), 1.5)
    band = fill(np.concatenate([rim, rim[::-1] - np.array([0, 17])]).astype(np.float32), 1.0)
    columns, rows = np.meshgrid(np.arange(PATCH_SIZE), np.arange(PATCH_SIZE))
    ribs = 0.1 * np.sin(columns / rng.uniform(1.8, 3.0)) + 0.03 * np.sin(rows / 2.0)
    round_off = 1.05 - 0.5 * np.abs(columns / PATCH_SCALE - 226) ** 2 / 80**2
    shade = (1 + ribs) * round_off * (1 - 0.18 * band)
    image = shade[..., None] * _pick(rng, _CLOTH)
    return image.clip(0, 1).astype(np.float32), mask
