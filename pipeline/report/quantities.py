"""The quantities of a dataset that a report shows: histograms by split and method, and their quantiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill.manifests.checks.columns import pc, places
from facemill.manifests.checks.face_rules import sides
from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.printable import printable
from facemill.manifests.shards.dataset import split_order
from facemill.pipeline.audit.opened import Opened
from facemill.pipeline.extract.annotators.quality import head_pose
from facemill.pipeline.figures.page import PageTable

__all__ = ["Cells", "Quantity", "quantities"]

Floats = NDArray[np.float64]

_FEWEST_BINS, _MOST_BINS = 12, 60


@dataclass(frozen=True)
class Quantity:
    """A number of each crop, or of each video.

    Attributes:
        name: also the anchor of its figure, with hyphens.
        unit: of the axis.
        look_for: what to look for in its figure.
        rows: what each value is of.
        values: [N]; NaN where there is none.
        form: format of a value.
        of: what is counted.
        logarithmic: whether bins are equal in the logarithm; values are positive.
        whole: whether values are whole numbers, which have bins of their own.
    """

    name: str
    unit: str
    look_for: str
    rows: Rows
    values: Floats
    form: str = ".1f"
    of: str = "crops"
    logarithmic: bool = False
    whole: bool = False

    @property
    def anchor(self) -> str:
        """Id of its figure."""
        return self.name.replace(" ", "-")


class Cells:
    """The splits and methods of a dataset, by which figures are filtered.

    Attributes:
        splits: in their usual order.
        methods: reals first.
    """

    def __init__(self, rows: Rows) -> None:
        self.splits: list[str] = sorted(pc.unique(rows["split"]).to_pylist(), key=split_order)
        self.methods: list[str] = sorted(pc.unique(rows["method"]).to_pylist(), key=lambda name: (name != "real", name))

    def figure(self, quantity: Quantity) -> dict[str, Any]:
        """A quantity as a figure of the page: the edges of its bins, and counts by split, method and bin."""
        split, method = (
            places(quantity.rows[column], pa.array(names, pa.string()))
            for names, column in ((self.splits, "split"), (self.methods, "method"))
        )
        known = np.isfinite(quantity.values)
        edges = _edges(quantity, quantity.values[known])
        place = np.clip(np.searchsorted(edges, quantity.values[known], side="right") - 1, 0, len(edges) - 2)
        shape = (len(self.splits), len(self.methods), len(edges) - 1)
        cells = np.ravel_multi_index((split[known], method[known], place), shape)
        counts = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
        return {
            "id": quantity.anchor,
            "unit": quantity.unit,
            "of": quantity.of,
            "edges": [float(f"{edge:.6g}") for edge in edges],
            "logarithmic": quantity.logarithmic,
            "whole": quantity.whole,
            "counts": counts.tolist(),
        }

    def table(self, quantity: Quantity) -> PageTable:
        """Quantiles of a quantity by method."""
        form = quantity.form
        methods = np.asarray(quantity.rows["method"].to_numpy(zero_copy_only=False), np.str_)
        columns = {"method": "", quantity.of: ",d", "5 %": form, "median": form, "95 %": form}
        rows = []
        for method in self.methods:
            values = quantity.values[(methods == method) & np.isfinite(quantity.values)]
            if len(values):
                rows.append([method, len(values), *np.percentile(values, (5, 50, 95)).tolist()])
        return PageTable(f"{quantity.name.capitalize()}, {quantity.unit}", columns, rows)

    def in_words(self, quantity: Quantity) -> str:
        """A quantity's figure for those who do not see it."""
        medians = [f"{row[0]} {row[3]:{quantity.form}}" for row in self.table(quantity).rows]
        return f"Histogram of {quantity.name} in {quantity.unit}. Medians: {', '.join(medians)}."

    def labels(self) -> dict[str, list[str]]:
        """Names of splits and methods, for scripts."""
        return {"splits": [*map(printable, self.splits)], "methods": [*map(printable, self.methods)]}


def quantities(one: Opened) -> Iterator[Quantity]:
    """All quantities of a dataset that are known; those of pixels and poses are of the crops that were looked at."""
    rows, chosen = one.rows, one.chosen
    looks = np.concatenate([looks.values for looks in one.looks.values()])
    points = chosen.numbers("landmarks").reshape(-1, 5, 2)
    poses = np.array([head_pose(one) if one.any() else (np.nan,) * 3 for one in points])
    masked = rows.equal("label", 1) & rows.known("mask_coverage")
    people = rows.table.group_by(["split", "method", "video_id"]).aggregate([("track_id", "count_distinct")])
    found = [
        Quantity(
            "face size", "pixels of the longer side in the frame",
            "A method whose curve lies elsewhere can be told by size alone. Faces much smaller than the crop are "
            "enlarged, and show no detail that a detector could learn.",
            rows, sides(rows).max(axis=1, initial=0), ".0f",
        ),
        Quantity(
            "sharpness", "variance of the Laplacian, logarithmic",
            "Reals and fakes should lie on each other. Fakes that are blurred as a whole are told by blur, and a hump "
            "far on the left is of crops that show nothing.",
            chosen, looks["sharpness"].astype(np.float64) + 0.1, ".1f", logarithmic=True,
        ),
        Quantity(
            "brightness", "mean gray level, 0 to 255",
            "The methods' curves should lie on each other. Near 0 and 255 there are black and blank pictures.",
            chosen, looks["brightness"].astype(np.float64),
        ),
        Quantity(
            "yaw", "degrees to the viewer's right",
            "Most faces look into the camera. Beyond 60 degrees landmarks are guesses, and profiles have small masks.",
            chosen, poses[:, 0],
        ),
        Quantity(
            "pitch", "degrees upwards",
            "One narrow hump is usual. Its middle is rarely 0, since faces differ from the model that angles are of.",
            chosen, poses[:, 1],
        ),
        Quantity(
            "detector score", "confidence of the face detector, 0 to 1",
            "Nearly all should be at the right end. A tail to the left is of hidden, blurred or false faces.",
            rows, rows.numbers("score").astype(np.float64), ".3f",
        ),
        Quantity(
            "mask coverage", "percent of the crop that is forged",
            "Each method has a range of its own: whole faces cover more than mouths. A bar at 0 is of masks that "
            "were not found, one at 100 of videos that do not follow their originals.",
            rows, np.where(masked, 100.0 * rows.numbers("mask_coverage"), np.nan),
        ),
        Quantity(
            "faces per video", "people with crops in a video",
            "Videos of several people have one face forged, often not all: their labels deserve a look.",
            Rows(people, one.videos, rows.recipe), people["track_id_count_distinct"].to_numpy().astype(np.float64),
            ".0f", "videos", whole=True,
        ),
        Quantity(
            "pair offset", "frames by which a fake is behind its original",
            "0 is best. Other numbers are corrected, but a method with many of them was cut or encoded again, and its "
            "masks deserve a look.",
            rows, rows.numbers("pair_offset").astype(np.float64), ".0f", whole=True,
        ),
    ]  # fmt: skip
    return (quantity for quantity in found if np.isfinite(quantity.values).any())


def _edges(quantity: Quantity, values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    if quantity.whole and high - low < _MOST_BINS:
        return np.arange(low - 1.5, high + 2.5)  # with an empty bin on both sides
    count = int(np.clip(2 * len(values) ** (1 / 3), _FEWEST_BINS, _MOST_BINS))
    if low == high:
        low, high = (low / 1.1, high * 1.1) if quantity.logarithmic else (low - 0.5, high + 0.5)
    return np.geomspace(low, high, count + 1) if quantity.logarithmic else np.linspace(low, high, count + 1)
