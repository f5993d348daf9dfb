from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill.pipeline.figures.contact_sheet import ContactRow, write_contact_sheet

CELL = 100


def row(label: str = "FaceSwap c23 000_001", side: int = CELL) -> ContactRow:
    """A blue real and a green fake picture, forged in the middle."""
    real = np.full((side, side, 3), (0, 0, 200), np.uint8)
    fake = np.full((side, side, 3), (0, 200, 0), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : -side // 4, side // 4 : -side // 4] = 255
    return ContactRow(label, real, fake, mask)


def written(tmp_path: Path, rows: list[ContactRow]) -> np.ndarray:
    """The sheet as it lies on disk, RGB."""
    path = tmp_path / "sheet.png"
    write_contact_sheet(rows, path, cell=CELL)
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def bounds(hits: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(hits)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


@pytest.mark.parametrize("side", [CELL, 37, 299])
def test_pictures_stand_side_by_side_at_the_size_asked_for(tmp_path, side):
    sheet = written(tmp_path, [row(side=side)])
    real = bounds((sheet == (0, 0, 200)).all(axis=2))
    fake = bounds((sheet == (0, 200, 0)).all(axis=2))
    assert (real[2] - real[0], real[3] - real[1]) == (CELL, CELL)
    assert (fake[2] - fake[0], fake[3] - fake[1]) == (CELL, CELL)
    assert real[1] == fake[1]
    assert real[2] < fake[0]


def test_mask_reddens_the_fake_only_where_it_is_set(tmp_path):
    sheet = written(tmp_path, [row()])
    real_left = bounds((sheet == (0, 0, 200)).all(axis=2))[0]
    fake_left, top, _, _ = bounds((sheet == (0, 200, 0)).all(axis=2))
    left = 2 * fake_left - real_left  # the third picture is as far from the second as that is from the first
    overlay = sheet[top : top + CELL, left : left + CELL]
    assert overlay[50, 50, 0] > 60
    assert overlay[50, 50, 1] > 100  # the fake still shows through
    assert overlay[5, 5, 0] == 0


def test_text_never_runs_into_the_margins(tmp_path):
    sheet = written(tmp_path, [row("a very long label of a very long video id " * 4)])
    paper = sheet[0, 0]
    assert (sheet[:, -18:] == paper).all()
    assert (sheet[:, :18] == paper).all()
    _, top, _, _ = bounds((sheet == (0, 0, 200)).all(axis=2))
    assert (sheet[top - 20 : top] != paper).any()


def test_labels_are_drawn(tmp_path):
    assert (written(tmp_path, [row("one")]) != written(tmp_path, [row("two")])).any()


def test_more_than_four_rows_stand_in_two_columns(tmp_path):
    four, five = written(tmp_path, [row()] * 4), written(tmp_path, [row()] * 5)
    assert five.shape[0] < four.shape[0]
    assert five.shape[1] > 1.9 * four.shape[1]
    shown = (five == (0, 0, 200)).all(axis=2).sum()
    assert shown == 5 * CELL * CELL


def test_pictures_given_are_left_as_they_are(tmp_path):
    given = row()
    before = [picture.copy() for picture in (given.real, given.fake, given.mask)]
    written(tmp_path, [given])
    assert all((old == new).all() for old, new in zip(before, (given.real, given.fake, given.mask), strict=True))
