"""Localisation: a detector's maps and Grad-CAM against the ground-truth masks of the crops."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from facemill.detectors.forgery import ForgeryDetector
from facemill.detectors.forgery.gradcam import explanations
from facemill.pipeline.data import FaceDataset, FaceLoader, prepare
from facemill.pipeline.data.split import refuse_not_finite
from facemill.pipeline.evaluate.against_reals import above_reals, in_cells
from facemill.pipeline.evaluate.intervals import mean_interval
from facemill.pipeline.evaluate.scores import COPIED, SCORES, name_groups
from facemill.pipeline.evaluate.terminal import add_bounds, name_cell, number_cells, number_table
from facemill.pipeline.evaluate.weighted import ONCE, Judged

__all__ = [
    *("LOCALISATION", "LOCATED", "MEAN_MASK", "Located", "Scale", "add_mean_mask"),
    *("choose_scales", "judge_maps"),
    *("localisation_tables", "locate", "mean_mask", "measure_map", "summarise_maps"),
]

Floats = NDArray[np.float64]
Maps = Mapping[str, Floats]
Located = tuple[int, Maps, NDArray[np.bool_]]
"""A crop's row, its maps and its mask."""

LOCATED = ("auc", "above_reals", "ap", "iou", "f1", "iou_val", "f1_val", "pointing", "area", "area_val")
LOCALISATION = pa.schema(
    [
        *(SCORES.field(name) for name in (*COPIED, "group")),
        pa.field("map", pa.string(), nullable=False),
        *(pa.field(name, pa.float64()) for name in LOCATED),
    ]
)
"""localisation.parquet: a row per crop whose mask is known, and map; see `measure_map` and `above_reals`."""
MEAN_MASK = "mean mask"
"""Name of a map that is the same for all crops, to compare with: faces are in the middle of crops, and so are masks."""
_STEPS = 100
"""Thresholds that validation chooses from: 0.01 to 1."""


@dataclass(frozen=True)
class Scale:
    """How a map's values become 0..1, and the threshold of the highest mean IoU, both of validation fakes.

    Attributes:
        low, high: the values that become 0 and 1: these themselves if all are between them, otherwise the extremes.
        threshold: of scaled values; None without a fake in validation whose mask is known.
    """

    low: float = 0.0
    high: float = 1.0
    threshold: float | None = None

    def __call__(self, values: Floats) -> Floats:
        scaled: Floats = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        return scaled


def measure_map(values: Floats, mask: NDArray[np.bool_], scale: Scale) -> dict[str, float]:
    """Measure one map against its mask.

    Args:
        values: the map, [H, W], higher where it says forged.
        mask: [H, W]; empty for a real.

    Returns:
        `auc` and `ap` of pixels; `iou` and `f1` of what is marked, scaled values of 0.5 and more, and `iou_val` and
        `f1_val` with the threshold of validation; `pointing`, 1 if a pixel of the highest value is in the mask, or
        their share that is; `area` and `area_val`, the share of the crop that is marked. Not a number where undefined:
        all but the areas of an empty mask, AUC and AP of a full one.
    """
    found = dict.fromkeys(LOCATED, np.nan)
    scaled = scale(values)
    for suffix, threshold in (("", 0.5), ("_val", scale.threshold)):
        if threshold is None:
            continue
        marked = scaled >= threshold
        found[f"area{suffix}"] = float(marked.mean())
        if mask.any():
            both = float((marked & mask).sum())
            found[f"iou{suffix}"] = both / float((marked | mask).sum())
            found[f"f1{suffix}"] = 2 * both / float(marked.sum() + mask.sum())
    if mask.any():
        found["pointing"] = float(mask[values == values.max()].mean())
    if mask.any() and not mask.all():
        flat = values.ravel()
        pixels = Judged(flat, mask.ravel(), flat).measure(ONCE, ["auc", "ap"])
        found |= {name: float(value[0]) for name, value in pixels.items()}
    return found


def choose_scales(crops: Callable[[], Iterable[tuple[Maps, NDArray[np.bool_]]]]) -> dict[str, Scale]:
    """Choose each map's scale and threshold.

    Args:
        crops: yields the maps, [H, W] each, and the mask of each crop of validation; called twice.
    """
    bounds: dict[str, tuple[float, float]] = {}
    for maps, _ in crops():
        for name, values in maps.items():
            low, high = bounds.get(name, (0.0, 1.0))
            bounds[name] = (min(low, float(values.min())), max(high, float(values.max())))
    if not bounds:
        return {}
    scales = {name: Scale(*pair) for name, pair in bounds.items()}
    sums: dict[str, Floats] = defaultdict(lambda: np.zeros(_STEPS))
    fakes = 0
    for maps, mask in crops():
        if not mask.any():
            continue
        fakes += 1
        for name, values in maps.items():
            bins = np.floor(scales[name](values) * _STEPS + 1e-9).astype(np.int64)
            # How many pixels of the mask, and of the whole crop, have values of at least each threshold.
            hits, marked = (
                np.bincount(chosen.ravel(), minlength=_STEPS + 1)[::-1].cumsum()[::-1][1:]
                for chosen in (bins[mask], bins)
            )
            sums[name] += hits / (marked + mask.sum() - hits)
    return {
        name: Scale(scale.low, scale.high, (int(sums[name].argmax()) + 1) / _STEPS if fakes else None)
        for name, scale in scales.items()
    }


def locate(
    detector: ForgeryDetector,
    faces: FaceDataset,
    *,
    device: torch.device | str = "cpu",
    batch: int = 32,
    workers: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Located]:
    """Yield each crop's row of `faces.crops`, its maps at the crop's size, [S, S] each, and its mask.

    Crops of fakes without a known mask are left out.

    Args:
        detector: is moved to `device` and set to eval mode.
        faces: with masks.

    Raises:
        DetectorError: naming the sample, if a map is not finite.
    """
    detector.to(device).eval()
    for raw in FaceLoader(faces, batch_size=batch, num_workers=workers, threads=torch.device(device).type == "cpu"):
        assert raw.masks is not None
        assert raw.has_mask is not None
        masks = raw.masks.flatten(0, -4)[:, 0].numpy() > 127  # also of all frames of clips
        known, rows = raw.has_mask.flatten().numpy(), faces.rows[raw.index.numpy()].ravel()
        images = prepare(raw.to(device), detector.input_spec).images
        maps = {name: _resize(one, masks.shape[-2:]) for name, one in explanations(detector, images).items()}
        for values in maps.values():
            refuse_not_finite(values, faces.crops, rows)
        for place in np.flatnonzero(known):
            yield int(rows[place]), {name: values[place] for name, values in maps.items()}, masks[place]
        if on_progress is not None:
            on_progress(raw.size)


def _resize(maps: Tensor, size: tuple[int, ...]) -> Floats:
    """Maps [B, h, w], or of clips [B, T, h, w], as [B, H, W] or [B T, H, W], bilinearly."""
    frames = maps.detach().float().flatten(0, -3)[:, None]
    resized: Tensor = F.interpolate(frames, size, mode="bilinear")[:, 0]
    values: Floats = resized.double().cpu().numpy()
    return values


def mean_mask(datasets: Iterable[FaceDataset]) -> Floats | None:
    """The mean of the known masks of fakes, [S, S]; None if there is none."""
    total, fakes = None, 0
    for faces in datasets:
        for place in np.flatnonzero(faces.labels):
            sample = faces[int(place)]
            masks = (sample["mask"].flatten(0, -3).numpy() > 127)[np.ravel(sample["has_mask"])].astype(np.float64)
            for mask in masks:
                total, fakes = mask if total is None else total + mask, fakes + 1
    return None if total is None else total / fakes


def add_mean_mask(located: Iterable[Located], mean: Floats | None) -> Iterator[Located]:
    """Give each crop of `locate` one more map: the mean mask of validation, which does not look at the image."""
    for row, maps, mask in located:
        yield row, maps if mean is None else {**maps, MEAN_MASK: mean}, mask


def judge_maps(located: Iterable[Located], samples: pa.Table, scales: Mapping[str, Scale]) -> pa.Table:
    """Measure each map of each crop: a table with schema `LOCALISATION`.

    Args:
        located: of `locate`.
        samples: the rows of samples.parquet.
        scales: of validation; a map without one is taken to be in 0..1.
    """
    rows, names, columns = [], [], []
    cells, forged = [], []  # a kilobyte or two of each
    for row, maps, mask in located:
        covered = in_cells(mask) >= 0.5
        for name, values in maps.items():
            rows.append(row)
            names.append(name)
            columns.append(measure_map(values, mask, scales.get(name, Scale())))
            cells.append(in_cells(values))
            forged.append(covered)
    samples = samples.take(rows).combine_chunks()
    real = samples["label"].to_numpy() == 0
    for name in set(names):
        chosen = np.flatnonzero([one == name for one in names])
        own, masked = (np.array([part[place] for place in chosen]) for part in (cells, forged))
        for place, value in zip(chosen, above_reals(own, masked, real[chosen]), strict=True):
            columns[place]["above_reals"] = float(value)
    found: dict[str, Any] = {name: samples[name] for name in COPIED}
    found |= {"group": name_groups(samples), "map": names}
    found |= {name: pa.array([column[name] for column in columns], pa.float64(), from_pandas=True) for name in LOCATED}
    return pa.table(found, schema=LOCALISATION)


def summarise_maps(table: pa.Table) -> list[dict[str, Any]]:
    """Means over crops by dataset, quality, method and map, with intervals by clip groups, as JSON values.

    Reals are the method `real`, of which only areas are known; `crops` is their number, `intervals` [low, high].
    """
    found = []
    keys = ["dataset", "quality", "method", "map"]
    places = table.group_by(keys, use_threads=False).aggregate([])
    names = {name: table[name].to_numpy(zero_copy_only=False).astype(str) for name in keys}
    groups = table["group"].to_numpy(zero_copy_only=False).astype(str)
    for key in sorted(places.to_pylist(), key=lambda key: [str(key[name]) for name in keys]):
        chosen = np.all([names[name] == key[name] for name in keys], axis=0)
        row: dict[str, Any] = {**key, "crops": int(chosen.sum()), "intervals": {}}
        for name in LOCATED:
            values = table[name].to_numpy()[chosen]
            row[name] = float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else None
            row["intervals"][name] = mean_interval(values, groups[chosen])
        found.append(row)
    return found


def localisation_tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Yield a table of the means of `summarise_maps` for each dataset, quality and method, with intervals."""
    shown = {
        "auc": "AUC",
        "above_reals": "> reals",
        "iou": "IoU",
        "iou_val": "IoU val",
        "f1_val": "F1 val",
        "pointing": "hit",
        "area": "area",
    }
    for (dataset, quality, method), group in groupby(rows, lambda row: (row["dataset"], row["quality"], row["method"])):
        title = name_cell(f"Maps against masks: {dataset} {quality} {method}")
        table = number_table("map", ("crops", *shown.values()), title)
        for row in group:
            table.add_row(name_cell(row["map"]), str(row["crops"]), *number_cells(row[name] for name in shown))
            add_bounds(table, [row["intervals"][name] for name in shown], 1)
        yield table
