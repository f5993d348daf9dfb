"""Maps against masks: planted maps of known overlap, and scikit-learn on flattened pixels."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score
from torch import Tensor

from facemill import DetectorError
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.against_reals import above_reals
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.evaluate.localisation import (
    LOCALISATION,
    LOCATED,
    Scale,
    add_mean_mask,
    choose_scales,
    judge_maps,
    locate,
    mean_mask,
    measure_map,
    summarise_maps,
)
from facemill.pipeline.train import TrainResult
from tests.manifests.small_dataset import square_mask
from tests.pipeline.data.built import build, default_samples
from tests.pipeline.evaluate.test_scoring import Brightness

SQUARE = square_mask() > 0
"""A mask of 32 x 32 in the middle of 64 x 64 pixels."""


def block(top: int, left: int, height: int, width: int, value: float = 1.0) -> np.ndarray:
    values = np.zeros((64, 64))
    values[top : top + height, left : left + width] = value
    return values


@pytest.mark.parametrize(
    ("values", "iou", "f1", "pointing", "area"),
    [
        (block(16, 16, 32, 32), 1, 1, 1, 0.25),
        (block(16, 16, 32, 16), 0.5, 2 / 3, 1, 0.125),  # its left half
        (block(16, 32, 32, 32), 1 / 3, 0.5, 0.5, 0.25),  # moved by half its side
        (block(0, 0, 16, 64), 0, 0, 0, 0.25),  # beside it
        (block(0, 0, 64, 64), 0.25, 0.4, 0.25, 1),  # everything
        (block(16, 16, 32, 32, 0.4), 0, 0, 1, 0),  # right, but below the threshold
    ],
)
def test_planted_maps_have_the_overlap_that_was_planted(values, iou, f1, pointing, area) -> None:
    found = measure_map(values, SQUARE, Scale(threshold=0.3))
    assert (found["iou"], found["f1"], found["pointing"], found["area"]) == pytest.approx((iou, f1, pointing, area))
    assert found["iou_val"] == pytest.approx(1 if values.max() == 0.4 else iou)


def test_pixels_are_judged_as_by_scikit_learn() -> None:
    random = np.random.default_rng(0)
    values = np.round(random.normal(size=(64, 64)) + SQUARE, 2)
    scale = Scale(float(values.min()), float(values.max()), 0.61)
    found = measure_map(values, SQUARE, scale)
    flat, truth = values.ravel(), SQUARE.ravel()
    assert found["auc"] == pytest.approx(roc_auc_score(truth, flat))
    assert found["ap"] == pytest.approx(average_precision_score(truth, flat))
    for suffix, threshold in (("", 0.5), ("_val", 0.61)):
        marked = (flat - flat.min()) / (flat.max() - flat.min()) >= threshold
        assert found[f"iou{suffix}"] == pytest.approx(jaccard_score(truth, marked))
        assert found[f"f1{suffix}"] == pytest.approx(f1_score(truth, marked))
        assert found[f"area{suffix}"] == pytest.approx(marked.mean())


def test_of_a_real_only_areas_are_known() -> None:
    found = measure_map(block(0, 0, 32, 64), np.zeros((64, 64), bool), Scale())
    assert {name for name, value in found.items() if np.isfinite(value)} == {"area"}
    assert found["area"] == 0.5
    full = measure_map(block(0, 0, 32, 64), np.ones((64, 64), bool), Scale())
    assert np.isnan(full["auc"])
    assert full["iou"] == 0.5


def test_no_other_threshold_has_a_higher_iou_on_validation() -> None:
    random = np.random.default_rng(0)
    shape = SQUARE.shape
    crops = [({"a": 3 * SQUARE + random.normal(0, 2, shape), "b": random.random(shape)}, SQUARE) for _ in range(4)]
    crops.append(({"a": np.full((64, 64), 20.0), "b": np.ones((64, 64))}, np.zeros((64, 64), bool)))  # a real
    scales = choose_scales(lambda: crops)
    assert (scales["a"].low, scales["a"].high) == (min(maps["a"].min() for maps, _ in crops), 20)
    assert (scales["b"].low, scales["b"].high) == (0, 1)
    for name, scale in scales.items():
        ious = {}
        for step in range(1, 101):
            marked = [scale(maps[name]) >= step / 100 for maps, mask in crops if mask.any()]
            ious[step / 100] = np.mean([jaccard_score(SQUARE.ravel(), one.ravel(), zero_division=0) for one in marked])
        assert ious[scale.threshold] == pytest.approx(max(ious.values()), abs=1e-9)
    assert choose_scales(lambda: crops[-1:])["a"].threshold is None
    assert choose_scales(lambda: []) == {}


class Finder(Brightness):
    """Has two maps: one that points into the square, and one at random."""

    def explain(self, images: Tensor) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        right = torch.zeros(len(images), 4, 4)
        right[:, 1:3, 1:3] = 5
        return {"right": right, "random": torch.rand(len(images), 16, 16, generator=generator)}


@pytest.fixture(scope="module")
def toy_maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    folder = build(tmp_path_factory.mktemp("located") / "data", default_samples())
    faces = FaceDataset(folder, "train")
    scales = choose_scales(lambda: ((maps, mask) for _, maps, mask in locate(Finder(), FaceDataset(folder, "val"))))
    return folder, judge_maps(locate(Finder(), faces, batch=7), faces.samples, scales)


def test_every_map_of_every_crop_with_a_known_mask_has_a_row(toy_maps: tuple[Path, pa.Table]) -> None:
    """`train-4` is a fake whose mask nobody knows."""
    _, table = toy_maps
    assert table.schema == LOCALISATION
    assert len(table) == 4 * 6 * 3
    assert set(table["map"].to_pylist()) == {"Grad-CAM", "right", "random"}
    assert set(table["video_id"].to_pylist()) == {"train-0", "train-1", "train-2", "train-3"}


def test_means_tell_a_map_that_is_right_from_chance(toy_maps: tuple[Path, pa.Table]) -> None:
    rows = {(row["method"], row["map"]): row for row in summarise_maps(toy_maps[1])}
    right, random, real = rows["swap", "right"], rows["swap", "random"], rows["real", "right"]
    assert right["auc"] > 0.95
    assert right["iou_val"] > 0.8
    assert right["pointing"] == 1
    assert abs(random["auc"] - 0.5) < 0.03
    low, high = random["intervals"]["auc"]
    assert low < random["auc"] < high
    assert (real["auc"], real["iou"], real["crops"]) == (None, None, 12)
    assert 0.1 < real["area_val"] < 0.4
    table = toy_maps[1].to_pandas()
    chosen = table[(table.method == "swap") & (table["map"] == "random")]
    for name in LOCATED:
        assert random[name] == pytest.approx(chosen[name].mean())


@pytest.mark.parametrize("seed", range(3))
def test_forged_places_are_compared_with_those_of_reals(seed: int) -> None:
    """By the definition, in loops, with ties."""
    rng = np.random.default_rng(seed)
    values, forged = rng.integers(0, 5, (20, 9)).astype(float), rng.random((20, 9)) < 0.3
    real = np.arange(20) % 3 == 0
    forged[1] = False
    found = above_reals(values, forged, real)
    for crop in range(20):
        wins = [
            np.mean([(values[crop, cell] > other) + (values[crop, cell] == other) / 2 for other in values[real, cell]])
            for cell in np.flatnonzero(forged[crop])
        ]
        expected = np.nan if real[crop] or not wins else np.mean(wins)
        assert found[crop] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(above_reals(values, forged, np.zeros(20, bool))).all()


def test_a_map_that_is_the_same_for_all_says_nothing_and_one_that_finds_the_forgery_all(
    toy_maps: tuple[Path, pa.Table],
) -> None:
    faces = FaceDataset(toy_maps[0], "train")
    rng = np.random.default_rng(0)
    where = block(20, 20, 20, 20)

    def crops():
        for row, label in enumerate(faces.labels):
            mask = SQUARE if label else np.zeros_like(SQUARE)
            yield (
                row,
                {"centre": SQUARE * 0.9, "noise": rng.random((64, 64)), "found": where * (1 if label else 0.2)},
                mask,
            )

    table = judge_maps(crops(), faces.samples, {}).to_pandas()
    fakes = table[table.label == 1].groupby("map")[["above_reals", "auc"]].mean()
    assert fakes.above_reals["centre"] == 0.5
    assert fakes.auc["centre"] == 1
    assert abs(fakes.above_reals["noise"] - 0.5) < 0.1
    inside = 25 / 64  # of the 64 forged cells of 4 pixels; beside them both are 0
    assert fakes.above_reals["found"] == pytest.approx(inside + (1 - inside) / 2)
    assert table[table.label == 0].above_reals.isna().all()


def test_a_map_that_is_not_finite_names_the_sample(toy_maps: tuple[Path, pa.Table]) -> None:
    class Broken(Finder):
        def explain(self, images: Tensor) -> dict[str, Tensor]:
            return {"broken": torch.full((len(images), 4, 4), torch.nan)}

    with pytest.raises(DetectorError, match="frame 0 of video train-0 of toy is not finite"):
        list(locate(Broken(), FaceDataset(toy_maps[0], "train")))


def test_the_mean_mask_is_that_of_fakes_whose_mask_is_known(toy_maps: tuple[Path, pa.Table]) -> None:
    found = mean_mask([FaceDataset(toy_maps[0], "train"), FaceDataset(toy_maps[0], "val")])
    assert np.array_equal(found, SQUARE)  # all masks of this dataset are alike
    [(row, maps, mask)] = add_mean_mask([(3, {"a": found}, SQUARE)], found)
    assert (row, set(maps), mask is SQUARE) == (3, {"a", "mean mask"}, True)
    assert mean_mask([]) is None
    assert next(iter(add_mean_mask([(3, {"a": found}, SQUARE)], None)))[1] == {"a": found}


def test_an_evaluation_writes_them(finished: TrainResult, toy: Path, tmp_path: Path) -> None:
    found = evaluate(finished.run, toy, tmp_path, localisation=True)
    [located] = found.metrics["localisation"]
    table = pq.read_table(tmp_path / "localisation.parquet")
    assert table.schema == LOCALISATION
    names = {"Grad-CAM", "mean mask", *(f"attention {n}" for n in range(1, 5))}
    assert set(table["map"].to_pylist()) == set(located["scales"]) == names
    assert len(table) == 12 * len(names)
    assert all(0 < scale["threshold"] <= 1 for scale in located["scales"].values())
    assert located["rows"] == summarise_maps(table)
    assert json.loads((tmp_path / "metrics.json").read_text())["localisation"] == [located]
    assert evaluate(finished.run, toy, tmp_path).metrics["localisation"] == []
