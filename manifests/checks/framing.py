"""Framing that predicts the label: what a detector could learn from the geometry of crops, without their pixels.

How large a face is in its video is a property of the videos. How a crop lies around it is facemill's own choice, and
must not depend on the label.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from facemill.manifests.checks.columns import Mask
from facemill.manifests.checks.face_rules import corners_in_crop, sides
from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.problem import Problem
from facemill.manifests.shards.dataset import SAMPLES_FILE

__all__ = ["auc", "crop_framing", "framing_tells", "geometry_tells"]

Floats = NDArray[np.float64]

LEAST_VIDEOS = 5
"""Number of reals, and of fakes, below which no AUC is taken."""
AUC_BOUND, AUC_SIGMAS = 0.1, 3.0
"""Largest distance of an AUC from 0.5: absolute, and in standard deviations by chance for the number of videos."""


def auc(values: Floats, positive: Mask) -> float:
    """Area under the ROC curve of `values` as a score for the positives; ties count half."""
    count = int(positive.sum())
    above = rankdata(values)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(values) - count)))


def framing_tells(rows: Rows) -> Iterator[Problem]:
    """Faults: the crops of a split are framed by label. Landmarks frame faces as they are turned, which is no fault."""
    if len(rows) and not _by_landmarks(rows):
        yield from _predictors(rows, crop_framing(rows), "framing_tells", by_method=False)


def geometry_tells(rows: Rows) -> Iterator[Problem]:
    """Warnings: sizes of faces, and framing by landmarks, that predict the fakes of a method."""
    yield from _predictors(rows, {"the size of the face": _longer_sides(rows)}, "geometry_tells", by_method=True)
    if _by_landmarks(rows):
        yield from _predictors(rows, crop_framing(rows), "geometry_tells", by_method=True)


def _predictors(rows: Rows, features: dict[str, Floats], check: str, *, by_method: bool) -> Iterator[Problem]:
    """By split, features whose median over a video's samples predicts fakes: all together, or those of each method."""
    units, first, unit = np.unique(
        np.stack([rows.video_codes, rows.numbers("label")]), axis=1, return_index=True, return_inverse=True
    )
    fake, splits, methods = units[1] == 1, rows["split"].to_numpy()[first], rows["method"].to_numpy()[first]
    medians = {name: _medians(values, unit) for name, values in features.items()}
    for split in dict.fromkeys(splits):
        reals, fakes = (splits == split) & ~fake, (splits == split) & fake
        groups = {method: fakes & (methods == method) for method in dict.fromkeys(methods[fakes])} if by_method else {}
        for name, some in groups.items() or [("fakes", fakes)]:
            counts = int(reals.sum()), int(some.sum())
            if min(counts) < LEAST_VIDEOS:
                continue
            deviation = np.sqrt((sum(counts) + 1) / (12 * counts[0] * counts[1]))  # of the AUC by chance
            bound = max(AUC_BOUND, AUC_SIGMAS * deviation)
            for what, values in medians.items():
                found = auc(values[reals | some], some[reals | some])
                if abs(found - 0.5) > bound:
                    message = f"{what} predicts {name} in {split}: AUC {found:.2f}, outside 0.5 ± {bound:.2f}"
                    yield Problem(SAMPLES_FILE, message, check=check)


def _medians(values: Floats, unit: NDArray[np.int64]) -> Floats:
    """The (lower) median of the values of each unit, which are numbered from 0."""
    order = np.lexsort((values, unit.ravel()))
    counts = np.bincount(unit.ravel())
    return np.asarray(values[order[np.cumsum(counts) - counts + (counts - 1) // 2]])


def _by_landmarks(rows: Rows) -> bool:
    return rows.recipe.crop.align == "similarity" and rows.recipe.crop.around == "face"


def _longer_sides(rows: Rows) -> Floats:
    """Longer sides of the face boxes, [N]."""
    return np.asarray(np.nan_to_num(sides(rows).max(axis=1)))


def crop_framing(rows: Rows) -> dict[str, Floats]:
    """Measure where the face lies in the crop, [N] by name; rounded to three digits to keep ties."""
    affine, size = rows.numbers("affine"), rows.numbers("crop_size")
    with np.errstate(all="ignore"):
        zoom = np.hypot(affine[:, 0], affine[:, 3])
        centre = corners_in_crop(affine, rows.numbers("bbox").astype(np.float64)).mean(axis=1) / size[:, None] - 0.5
        found = {
            "the size of the crop in faces": size / zoom / _longer_sides(rows),
            "the face's horizontal place in the crop": centre[:, 0],
            "the face's vertical place in the crop": centre[:, 1],
            "the face's distance from the crop's centre": np.hypot(centre[:, 0], centre[:, 1]),
        }
    return {name: np.nan_to_num(np.round(values, 3)) for name, values in found.items()}
