from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill.pipeline.figures.explanation_sheet import ExplanationRow, explanation_sheet
from facemill.pipeline.figures.sheet import save_png

CELL = 100
TOP, LEFT, STEP = 20 + 56 + 20, 20, CELL + 10


def row(heat: np.ndarray, *, mask: np.ndarray | None = None, wrong: bool = False) -> ExplanationRow:
    return ExplanationRow("a caption", wrong, np.full((64, 64, 3), 128, np.uint8), mask, {"heat": heat})


def written(tmp_path: Path, *rows: ExplanationRow) -> np.ndarray:
    path = tmp_path / "sheet.png"
    save_png(explanation_sheet(rows, cell=CELL), path)
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


def cell(sheet: np.ndarray, line: int, column: int) -> np.ndarray:
    top, left = TOP + line * (CELL + 30), LEFT + column * STEP
    return sheet[top : top + CELL, left : left + CELL]


def test_a_small_map_is_shown_cell_by_cell(tmp_path):
    heat = cell(written(tmp_path, row(np.array([[0.0, 1.0], [0.5, 0.0]], np.float32))), 0, 2)
    quarters = [heat[y : y + 50, x : x + 50] for y in (0, 50) for x in (0, 50)]
    assert all((quarter == quarter[0, 0]).all() for quarter in quarters)
    low, high, middle, again = (quarter[0, 0] for quarter in quarters)
    assert high[0] - high[2] > 30  # red
    assert middle[1] > max(middle[0], middle[2])  # green
    assert (low == again).all()
    assert low[2] > low[1]  # blue


def test_a_large_map_is_shown_smoothly(tmp_path):
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (40, 1))
    heat = cell(written(tmp_path, row(ramp)), 0, 2)
    assert len(np.unique(heat[50], axis=0)) > 60


def test_all_rows_share_a_maps_scale(tmp_path):
    flat, steep = np.full((2, 2), 0.1, np.float32), np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    sheet = written(tmp_path, row(flat), row(steep))
    (low, high), tenth = cell(sheet, 1, 2)[0, [0, -1]], cell(sheet, 0, 2)[0, 0]
    assert 0 < np.abs(tenth - low).sum() < np.abs(tenth - high).sum()
    (alone,) = np.unique(cell(written(tmp_path, row(flat)), 0, 2).reshape(-1, 3), axis=0)
    assert (alone == low).all()  # a map without a range has nothing to show


def test_masks_are_tinted_in_or_said_to_be_unknown(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    heat = np.zeros((2, 2), np.float32)
    sheet = written(tmp_path, row(heat, mask=mask), row(heat))
    known, unknown = cell(sheet, 0, 1), cell(sheet, 1, 1)
    assert known[50, 20, 0] > known[50, 20, 1]
    assert len(set(known[50, 80])) == 1
    assert (unknown[30:] == sheet[0, 0]).all()  # paper
    assert (unknown[:30] != sheet[0, 0]).any()  # with a word on it


def test_wrong_judgements_have_red_captions(tmp_path):
    heat = np.zeros((2, 2), np.float32)
    right, wrong = (written(tmp_path, row(heat, wrong=wrong))[TOP - 20 : TOP] for wrong in (False, True))
    assert np.abs(right[..., 0] - right[..., 1]).max() < 10
    assert (wrong[..., 0] - wrong[..., 1]).max() > 100


@pytest.mark.parametrize("side", [30, 100, 299])
def test_crops_of_any_size_fill_their_cells(tmp_path, side):
    red = ExplanationRow(
        "a", False, np.full((side, side, 3), (200, 0, 0), np.uint8), None, {"h": np.ones((3, 3), np.float32)}
    )
    sheet = written(tmp_path, red)
    assert ((sheet == (200, 0, 0)).all(axis=2)).sum() == CELL * CELL
