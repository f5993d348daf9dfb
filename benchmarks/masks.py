"""Forged regions found from real/fake pairs, compared with the composed ones: ours and those of LRL's threshold 0.15.

Real videos are forged at known places and encoded. A pixel is forged if at least a quarter of it comes from the
donor. The ratio is our mean IoU; the details give the threshold's IoU on the same pairs, the largest number of
connected parts, and the mean IoU of consecutive samples in aligned crops.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import MEDIA
from benchmarks.row import Row
from facemill.masks import FaceForgery, difference_mask, mask_iou
from facemill.pipeline.config.sections import CropSettings
from facemill.pipeline.extract.crop import align_affine
from tests.composed.forgeries import (
    FacedClip,
    ForgedClip,
    Kind,
    brightened,
    encoded,
    forge,
    framed,
    load_clip,
    side_by_side,
    unforged,
    verdicts_of,
)

__all__ = ["measure"]

CROP = CropSettings(size=128, scale=1.6)
DECISION = ("forged", "decided")
PAIRS = (("lp_d13", "lp_d18"), ("lp_d18", "lp_d13"), ("fsgan_shinzo", "fsgan_conan"), ("fsgan_conan", "lp_d13"))
FRAMES = 12
WINDOWS = {30: 240, 100: 320, 200: 480}  # side of the image by height of the face's box
CRFS = (0, 23, 40)
TARGETS = {0: ">= 0.9", 23: ">= 0.9", 40: ">= 0.8"}
FORGERIES: dict[str, tuple[Kind, bool, float]] = {
    "swap, colours matched": ("swap", True, 0.03),
    "swap, colours not matched": ("swap", False, 0.03),
    "whole face, soft edge": ("swap", True, 0.08),
    "mouth": ("mouth", True, 0.03),
    "eyes": ("eyes", True, 0.03),
}


def measure() -> list[Row]:
    """IoU by forgery, face size and crf, then precision and recall of forged faces; no rows without test media."""
    folder = MEDIA / "videos"
    if not folder.is_dir():
        return []
    names = sorted({name for pair in PAIRS for name in pair})
    people = {name: load_clip(folder / f"{name}.mp4", FRAMES, longest_side=1280) for name in names}
    scores: dict[tuple[str, int, int], list[dict[str, float]]] = defaultdict(list)
    verdicts: list[NDArray[np.bool_]] = []  # [3, N, P]: found, true, decided
    for face, window in WINDOWS.items():
        for target, donor in PAIRS:
            real = framed(people[target], face, window)
            for name, (kind, matched, softness) in FORGERIES.items():
                if face == 30 and kind != "swap":
                    continue
                composed = forge(real, people[donor], kind, matched=matched, softness=softness)
                for crf in CRFS:
                    clip = _encoded(composed, crf, crf)
                    found = verdicts_of(clip)
                    scores[name, face, crf].append(_agreement(clip, found[0]))
                    verdicts.append(_decisions(clip, found))
            if face > 30:
                verdicts += [_decisions(clip, verdicts_of(clip)) for clip in _hard_to_tell(real, people[donor])]
    rows = [_row(*key, values) for key, values in scores.items()]
    return [*rows, *_decision_rows(verdicts)]


def _hard_to_tell(real: FacedClip, donor: FacedClip) -> Iterator[ForgedClip]:
    """Unforged and partly forged videos, processed in ways that may be mistaken for a forgery."""
    for real_crf, fake_crf in ((23, 40), (40, 23), (15, 40), (23, 28)):
        yield _encoded(unforged(real), real_crf, fake_crf)
    yield _encoded(brightened(unforged(real)), 23, 23)
    yield _encoded(forge(real, donor), 15, 40)
    for crf in (23, 40):
        yield _encoded(forge(real, donor, frames=slice(FRAMES // 2, None)), crf, crf)
        yield _encoded(side_by_side(forge(real, donor), unforged(real)), crf, crf)


def _encoded(clip: ForgedClip, real_crf: int, fake_crf: int) -> ForgedClip:
    with tempfile.TemporaryDirectory() as folder:
        return encoded(clip, Path(folder), real_crf=real_crf, fake_crf=fake_crf)


def _agreement(clip: ForgedClip, forgeries: list[FaceForgery]) -> dict[str, float]:
    height, width = clip.regions.shape[1:]
    ours = [one.warp(np.eye(2, 3), max(height, width))[:height, :width] for one in forgeries]
    pairs = list(zip(clip.real, clip.fake, strict=True))
    fixed = [difference_mask(*pair) for pair in pairs]
    result = {
        name: float(np.mean([mask_iou(*pair) for pair in zip(masks, clip.regions, strict=True)]))
        for name, masks in (("ours", ours), ("0.15", fixed))
    }
    result["parts"] = max(cv2.connectedComponents(mask)[0] - 1 for mask in ours)
    assert clip.landmarks is not None
    affines = [align_affine(points[0], CROP) for points in clip.landmarks]
    in_crops = [one.warp(affine, CROP.size) for one, affine in zip(forgeries, affines, strict=True)]
    result["steady"] = float(np.mean([mask_iou(*pair) for pair in pairwise(in_crops)]))
    return result


def _decisions(clip: ForgedClip, found: list[list[FaceForgery]]) -> NDArray[np.bool_]:
    forged, decided = (np.array([[getattr(one, name) for one in track] for track in found]).T for name in DECISION)
    return np.stack([forged, clip.forged, decided])


def _row(name: str, face: int, crf: int, values: list[dict[str, float]]) -> Row:
    mean = {key: float(np.mean([one[key] for one in values])) for key in values[0]}
    parts = max(one["parts"] for one in values)
    return Row(
        benchmark="masks",
        what=f"IoU of the forged region, {name}, face of {face} pixels, crf {crf}",
        ratio=mean["ours"],
        target=TARGETS[crf] if name.startswith("swap") else "",
        details=f"0.15 {mean['0.15']:.2f}; parts <= {parts:.0f}, steady {mean['steady']:.2f}",
    )


def _decision_rows(verdicts: list[NDArray[np.bool_]]) -> list[Row]:
    faces = np.concatenate([one.reshape(3, -1) for one in verdicts], axis=1)
    found, truth, _ = faces[:, faces[2]]
    right = int(np.count_nonzero(found & truth))
    counts = f"{right} of {np.count_nonzero(truth)} forged faces, {np.count_nonzero(found & ~truth)} others; "
    left_out = [np.count_nonzero(~faces[2] & (faces[1] == forged)) for forged in (True, False)]
    counts += f"{left_out[0]} forged and {left_out[1]} others left out"
    return [
        Row("masks", f"{name} of which face is forged when", float(right / total), ">= 0.99", counts)
        for name, total in (("precision", np.count_nonzero(found)), ("recall", np.count_nonzero(truth)))
    ]
