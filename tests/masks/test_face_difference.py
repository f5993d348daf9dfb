"""Geometry and calibration of a face's difference grid: what is painted at known pixels is found at known cells."""

import tracemalloc

import numpy as np
import pytest

from facemill.masks import FaceDifference, OriginalFrame
from facemill.masks import face_difference as module
from facemill.masks.face_difference import GRID

HEIGHT, WIDTH = 240, 320
BOX = (120.0, 60.0, 180.0, 140.0)  # longer side 80: the grid covers 160 x 160 pixels from (70, 20)


def painted(real: np.ndarray, rows: slice, columns: slice, levels: int = 40) -> np.ndarray:
    fake = real.astype(np.int16)
    fake[rows, columns] += levels
    return fake.clip(0, 255).astype(np.uint8)


def measure_face(real: np.ndarray, fake: np.ndarray, *boxes: tuple[float, ...]) -> FaceDifference:
    return OriginalFrame(real, boxes).measure(fake)[0]


@pytest.fixture
def real(moving_clip) -> np.ndarray:
    return moving_clip(1, HEIGHT, WIDTH, seed=0)[0]


def test_a_painted_rectangle_lies_where_the_affine_says(real):
    measured = measure_face(real, painted(real, slice(80, 120), slice(130, 170)), BOX)
    assert (measured.left, measured.top, measured.side) == (70, 20, 160)
    pixels = np.array([[x, y, 1] for x in (0, GRID - 1) for y in (0, GRID - 1)]) @ measured.affine.T
    np.testing.assert_allclose(pixels[0], [70.125, 20.125])  # centre of a cell 1.25 pixels wide
    np.testing.assert_allclose(pixels[-1], [228.875, 178.875])
    expected = np.zeros((GRID, GRID))
    expected[48:80, 48:80] = 40  # (130 - 70) / 1.25 to (170 - 70) / 1.25
    edges = np.ones((GRID, GRID), np.bool_)
    edges[46:50, 46:82] = edges[78:82, 46:82] = edges[46:82, 46:50] = edges[46:82, 78:82] = False
    np.testing.assert_allclose(measured.grid.mean(axis=2)[edges], expected[edges], atol=1.1)


def test_the_difference_is_signed(real):
    darker = painted(real, slice(80, 120), slice(130, 170), levels=-25)
    assert measure_face(real, darker, BOX).grid[60, 60].mean() == pytest.approx(-25, abs=1.5)


def test_cells_outside_the_frame_are_empty_and_not_own(real):
    measured = measure_face(real, painted(real, slice(0, 240), slice(0, 320)), (0, 0, 60, 80))
    outside = np.ones((GRID, GRID), np.bool_)
    outside[32:, 40:] = False  # the grid starts at (-50, -40); cells of 1.25 pixels
    assert not measured.grid[outside].any()
    np.testing.assert_array_equal(measured.own, ~outside)
    # An edge of the frame is no edge of what it shows.
    wider = np.pad(real, ((60, 0), (60, 0), (0, 0)), mode="edge")
    np.testing.assert_array_equal(measured.texture, measure_face(wider, wider, (60, 60, 120, 140)).texture)


@pytest.mark.parametrize(("x", "y"), [(900, 900), (900, 60), (120, 900), (-400, 60), (120, -400)])
def test_a_face_beyond_the_frame_is_measured_as_empty(real, x, y):
    measured = measure_face(real, 255 - real, (x, y, x + 60, y + 80))
    for cells in (measured.grid, measured.own, measured.texture):
        assert not cells.any()


def test_fakes_of_one_frame_are_measured_as_each_alone(real):
    original = OriginalFrame(real, [BOX])
    fakes = [painted(real, slice(80, 120), slice(90, 150), levels) for levels in (40, -25)]
    fakes[1] = (0.9 * fakes[1] + 20).astype(np.uint8)  # with a gain and an offset of its own
    for fake in (*fakes, *fakes):
        [shared], alone = original.measure(fake), measure_face(real, fake, BOX)
        np.testing.assert_array_equal(shared.grid, alone.grid)
        assert (shared.gain, shared.outside_share) == (alone.gain, alone.outside_share)


def test_cells_belong_to_the_nearer_of_two_faces(real):
    other = (180.0, 60.0, 240.0, 140.0)  # their boxes touch at x = 180
    left, right = OriginalFrame(real, [BOX, other]).measure(real)
    assert left.own[:, :88].all()  # (180 - 70) / 1.25
    assert not left.own[:, 88:].any()
    alone = measure_face(real, real, BOX, other)
    np.testing.assert_array_equal(alone.own, left.own)
    assert right.own[:, 40:].all()


@pytest.mark.parametrize(("gain", "offset"), [(0.95, 18.0), (1.08, -20.0), (1.0, (12.0, 9.0, -6.0)), (0.85, 20.0)])
def test_gain_and_offset_outside_the_face_are_found_and_removed(real, gain, offset):
    forged = painted(real, slice(60, 140), slice(120, 180))
    fake = np.rint(forged * gain + offset).clip(0, 255).astype(np.uint8)
    measured = measure_face(real, fake, BOX)
    np.testing.assert_allclose(measured.gain, gain, atol=0.01)
    assert measured.outside_share < 0.001
    np.testing.assert_allclose(measured.offset, offset, atol=1)
    assert np.abs(measured.grid[:20]).mean() < 0.6
    assert measured.grid[60, 60].mean() == pytest.approx(40 * gain, abs=1.5)


@pytest.mark.parametrize(("coding", "other", "blocks"), [(4, 36, slice(100, 180)), (0.5, 16, slice(0, 40))])
def test_a_gain_is_that_of_most_blocks_where_others_differ_more_than_coding_does(coding, other, blocks):
    """Some of 400 blocks are brighter by `other` gray levels besides: four to a dozen times the typical residual."""
    real = np.repeat(np.arange(40, 200, 4), 10).astype(np.float32)
    fake = 1.1 * real + np.tile([-coding, coding], len(real) // 2)
    fake[blocks] += other
    assert module._gain(real, fake.astype(np.float32)) == pytest.approx(1.1, abs=0.005)


def test_a_gain_is_that_of_all_blocks_where_none_differs_by_more_than_coding_does():
    """Bright blocks are brighter by two gray levels, dark ones are as they were."""
    real = np.repeat(np.arange(48, 240, 32), 20).astype(np.float32)
    fake = real + 2 * (real > 160)
    expected = np.polyfit(real, fake, 1)[0]
    assert expected > 1.012
    assert module._gain(real, fake) == pytest.approx(expected, abs=0.001)


def test_share_of_pixels_that_differ_outside_the_faces(real):
    fake = painted(real, slice(200, 240), slice(0, 320), levels=70)  # a sixth of the frame
    outside = HEIGHT * WIDTH - 108 * 128  # but for the face grown by 24 pixels on each side
    within = painted(real, slice(36, 164), slice(96, 204), levels=70)
    assert measure_face(real, within, BOX).outside_share == 0
    assert measure_face(real, fake, BOX).outside_share == pytest.approx(40 * 320 / outside, abs=0.02)
    on_a_face = measure_face(real, fake, BOX, (0, 200, 320, 240))
    assert on_a_face.outside_share == 0


@pytest.mark.parametrize("corner", [(-20, 60), (100, -20), (270, 60), (100, 190)])
def test_a_face_over_the_edge_of_the_frame_is_no_difference_outside_of_faces(real, corner):
    """The face that differs reaches over an edge: nothing outside of it differs."""
    x, y = corner
    fake = painted(real, slice(max(y, 0), y + 80), slice(max(x, 0), x + 80), levels=70)
    assert measure_face(real, fake, (x, y, x + 80, y + 80)).outside_share == 0


def test_what_cannot_be_measured_is_refused(real):
    for bad in (real[:, :100], real[..., 0], real.astype(np.float32)):
        with pytest.raises(ValueError, match=r"pass uint8 RGB|one size"):
            measure_face(real, bad, BOX)
    with pytest.raises(ValueError, match="not finite"):
        measure_face(real, real, (0, 0, np.nan, 10))


@pytest.mark.parametrize(("left", "top", "side"), [(-100, -60, 512), (40, 30, 516), (-300, 200, 1024)])
def test_squares_read_in_bands_equal_those_read_whole(monkeypatch, left, top, side):
    frame = np.random.default_rng(side).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    whole = module._gridded(frame, left, top, side)
    monkeypatch.setattr(module, "LARGE_SIDE", 4)
    monkeypatch.setattr(module, "BAND", 32)
    assert np.array_equal(module._gridded(frame, left, top, side), whole)


def test_a_square_around_a_face_that_fills_a_large_frame_takes_little_memory():
    frame = np.zeros((3000, 3000, 3), np.uint8)
    tracemalloc.start()
    try:
        module._gridded(frame, -1500, -1500, 6000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6000 * 6000 * 3 / 4
