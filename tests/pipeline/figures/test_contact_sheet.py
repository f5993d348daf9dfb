from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill.pipeline.figures.contact_sheet import SheetPart, Strip, write_contact_sheet
from facemill.pipeline.figures.sheet import is_sheet

CELL = 100
COLOURS = ((0, 0, 200), (0, 200, 0), (200, 0, 0))


def strip(label: str = "FaceSwap c23 000_001", count: int = 3, side: int = CELL) -> Strip:
    """Pictures of one colour each: blue, green, red, and again."""
    pictures = [np.full((side, side, 3), COLOURS[number % 3], np.uint8) for number in range(count)]
    return Strip(label, pictures)


def written(tmp_path: Path, *strips: Strip, title: str = "Masks") -> np.ndarray:
    """The sheet as it lies on disk, RGB."""
    path = tmp_path / "sheet.png"
    write_contact_sheet([SheetPart("Empty", []), SheetPart(title, strips)], path, cell=CELL)
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def bounds(hits: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(hits)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


@pytest.mark.parametrize("side", [CELL, 37, 299])
def test_pictures_stand_side_by_side_at_the_size_asked_for(tmp_path, side):
    sheet = written(tmp_path, strip(side=side))
    places = [bounds((sheet == colour).all(axis=2)) for colour in COLOURS]
    assert {(right - left, bottom - top) for left, top, right, bottom in places} == {(CELL, CELL)}
    assert len({top for _, top, _, _ in places}) == 1
    assert places[0][2] < places[1][0]
    assert places[1][2] < places[2][0]


def test_short_strips_share_a_row_and_long_ones_do_not(tmp_path):
    one, three, four = (written(tmp_path, *[strip()] * count) for count in (1, 3, 4))
    assert one.shape == three.shape
    assert four.shape[0] > three.shape[0]
    assert four.shape[1] == three.shape[1]
    assert (four == COLOURS[0]).all(axis=2).sum() == 4 * CELL * CELL
    assert written(tmp_path, strip(count=9), strip()).shape == four.shape


def test_a_strip_ends_with_the_sheet(tmp_path):
    sheet = written(tmp_path, strip(count=20))
    assert (sheet == COLOURS[0]).all(axis=2).sum() == 3 * CELL * CELL
    assert (sheet[:, -18:] == sheet[0, 0]).all()


def test_text_never_runs_into_the_margins_or_the_next_strip(tmp_path):
    sheet = written(tmp_path, strip("a very long label of a very long video id " * 4), strip("", count=1))
    paper = sheet[0, 0]
    assert (sheet[:, -18:] == paper).all()
    assert (sheet[:, :18] == paper).all()
    _, top, _, _ = bounds((sheet == COLOURS[1]).all(axis=2))
    _, _, end, _ = bounds((sheet == COLOURS[2]).all(axis=2))
    assert (sheet[top - 18 : top, : end + 1] != paper).any()
    assert (sheet[top - 18 : top, end + 1 :] == paper).all()


def test_the_label_of_a_single_picture_is_as_large_as_any(tmp_path):
    label = "no mask  lonely  mine-lonely-native-lone  frame 111"
    one, three = (written(tmp_path, strip(label, count)) for count in (1, 3))
    _, top, _, _ = bounds((one == COLOURS[0]).all(axis=2))
    assert (one[top - 18 : top] == three[top - 18 : top]).all()


@pytest.mark.parametrize("what", ["label", "title"])
def test_labels_and_titles_are_drawn(tmp_path, what):
    one, two = (
        written(tmp_path, strip(name if what == "label" else ""), title=name if what == "title" else "")
        for name in ("one", "two")
    )
    assert (one != two).any()


def test_pictures_given_are_left_as_they_are(tmp_path):
    given = strip()
    before = [picture.copy() for picture in given.images]
    written(tmp_path, given)
    assert all((old == new).all() for old, new in zip(before, given.images, strict=True))


def test_only_sheets_are_known_as_such(tmp_path):
    written(tmp_path, strip())
    assert is_sheet(tmp_path / "sheet.png")
    cv2.imwrite(str(tmp_path / "photo.png"), strip().images[0])
    (tmp_path / "text.png").write_bytes(b"\x89PNG and no more")
    assert not any(is_sheet(tmp_path / name) for name in ("photo.png", "text.png", "none.png"))
