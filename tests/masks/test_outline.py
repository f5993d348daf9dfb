"""Outlines of painted regions, whose energies are known, in the cells of a face's grid."""

import numpy as np
import pytest
from scipy.optimize import minimize

from facemill.masks import outline as module
from facemill.masks.face_difference import GRID
from facemill.masks.forged_region import _outlines as outlines_of
from facemill.masks.outline import FaceAxis, Part, fit_outlines

Y, X = np.mgrid[:GRID, :GRID].astype(np.float64)
CELLS = np.stack([X, Y], axis=-1)
LANDMARKS = np.array([[50, 48], [78, 52], [63, 62], [52, 78], [74, 82]], float)  # a face that is turned a little
AXIS = FaceAxis.of(LANDMARKS)
ASIDE, ALONG = AXIS.aside(CELLS), (CELLS - AXIS.origin) @ AXIS.down


def ellipse(aside: float, along: float, half_width: float, half_height: float) -> np.ndarray:
    """In the face's own directions, from the point between its eyes."""
    return ((ASIDE - aside) / half_width) ** 2 + ((ALONG - along) / half_height) ** 2 < 1


def energies(forged: np.ndarray, level: float = 100.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured and expected energy, and where a region may lie."""
    noise = np.ones((GRID, GRID), np.float32)
    return (noise + level * forged).astype(np.float32), noise, np.ones((GRID, GRID), np.bool_)


def filled(outlines: list[np.ndarray]) -> np.ndarray:
    """Cells whose centre is inside an outline, which each is star-shaped about its mean."""
    inside = np.zeros((GRID, GRID), np.bool_)
    for outline in outlines:
        centre = outline.mean(axis=0)
        angles = np.arctan2(*(outline - centre).T[::-1])
        order = np.argsort(angles)
        reach = np.hypot(*(outline - centre).T)[order]
        there = np.interp(np.arctan2(Y - centre[1], X - centre[0]), angles[order], reach, period=2 * np.pi)
        inside |= np.hypot(X - centre[0], Y - centre[1]) < there
    return inside


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def test_the_axis_runs_from_between_the_eyes_to_the_mouth():
    np.testing.assert_allclose(AXIS.origin, [64, 50])
    np.testing.assert_allclose(AXIS.down, np.array([-1, 30]) / np.hypot(1, 30))
    eyes = AXIS.aside(LANDMARKS[:2])
    assert eyes[0] == pytest.approx(-eyes[1])
    np.testing.assert_allclose(
        AXIS.mirrored(LANDMARKS[0]),
        AXIS.origin - (LANDMARKS[0] - AXIS.origin) + 2 * AXIS.down * ((LANDMARKS[0] - AXIS.origin) @ AXIS.down),
    )
    assert AXIS.aside(AXIS.mirrored(LANDMARKS[0], 0.5)) == pytest.approx(0)


@pytest.mark.parametrize("forged", [ellipse(0, 15, 24, 32), ellipse(0, 30, 15, 10), ellipse(20, 25, 12, 12)])
def test_an_outline_is_that_of_what_is_forged(forged):
    found = filled(outlines_of(*energies(forged), AXIS))
    assert iou(found, forged) > 0.9


def test_what_one_side_hides_the_other_shows():
    """A face whose left edge has the colours of the original: it is drawn whole if the face's axis is known."""
    forged = ellipse(0, 15, 24, 32)
    seen = forged & ~((ASIDE < -8) & (np.abs(ALONG - 15) < 22))
    with_axis, without = (iou(filled(outlines_of(*energies(seen), axis)), forged) for axis in (AXIS, None))
    assert with_axis > 0.9
    assert with_axis > without + 0.02


@pytest.mark.parametrize("forged", [ellipse(16, 20, 10, 18) & (ASIDE > 8), ellipse(9, 20, 20, 20)])
def test_a_part_at_the_side_is_not_drawn_symmetric_about_the_axis(forged):
    [outline] = outlines_of(*energies(forged), AXIS)
    assert iou(filled([outline]), forged) > 0.85


def test_mirrored_parts_have_one_outline():
    """Of both eyes, one is half hidden; the outlines are mirror images, and both are where the eyes are."""
    left, right = ellipse(-15, 0, 10, 7), ellipse(15, 0, 10, 7)
    seen = left | (right & (ALONG > -2))
    outlines = outlines_of(*energies(seen), AXIS)
    assert len(outlines) == 2
    first, second = outlines
    np.testing.assert_allclose(np.array([AXIS.mirrored(point) for point in first]), second, atol=1e-6)
    assert iou(filled(outlines), left | right) > iou(seen, left | right)


def test_parts_that_are_no_mirror_images_have_outlines_of_their_own():
    eye, mouth = ellipse(-15, 0, 10, 7), ellipse(0, 32, 15, 10)
    found = outlines_of(*energies(eye | mouth), AXIS)
    assert len(found) == 2
    assert iou(filled(found), eye | mouth) > 0.85


def test_eyes_that_closing_has_joined_are_two_parts():
    """The noise between them is a bridge; one outline would be that of both and the bridge."""
    eyes = ellipse(-12, 0, 10, 7) | ellipse(12, 0, 10, 7)
    assert len(outlines_of(*energies(eyes), AXIS)) == 2
    assert len(outlines_of(*energies(eyes), None)) == 1


@pytest.mark.parametrize(
    "forged", [ellipse(0, 15, 24, 32) & (np.abs(ASIDE) > 1.2), ellipse(0, 0, 24, 8)], ids=["a face", "a band"]
)
def test_a_face_that_is_dark_along_its_nose_and_a_band_over_both_eyes_are_one_part(forged):
    assert len(outlines_of(*energies(forged), AXIS)) == 1


def test_two_parts_of_one_fit_share_their_radius_and_cells_count_by_weight():
    eyes = [ellipse(-15, 0, 10, 7), ellipse(15, 0, 10, 7)]
    energy, noise, _ = energies(eyes[0] | ellipse(15, 0, 20, 20))  # the other is covered by something larger
    centre = AXIS.origin + AXIS.aside(AXIS.origin) - 15 * np.array([AXIS.down[1], -AXIS.down[0]])
    parts = [Part(centre, 8.4), Part(AXIS.mirrored(centre), 8.4)]
    ones = np.ones((GRID, GRID), np.float32)
    half = fit_outlines(energy, noise, [ones, 0 * ones], parts, AXIS)
    both = fit_outlines(energy, noise, [ones, ones], parts, AXIS)
    assert iou(filled(half[:1]), eyes[0]) > 0.8
    assert np.count_nonzero(filled(half)) < 0.9 * np.count_nonzero(filled(both))


@pytest.mark.parametrize("cells", [1.0, 0.1, 0.02, 0.01])
def test_an_outline_is_the_most_likely_one_however_many_cells_tell_of_it(cells):
    """Of an oval; with less to go by, it is nearer to a circle. Compared with SciPy's search, without derivatives."""
    radius, away, waves = 24.0, np.arange(1, 50, 2.0), module.WAVES

    def opacity(reach: np.ndarray) -> np.ndarray:
        return (1 + np.exp((away - reach[:, None]) / module.SOFTNESS)) ** -2.0

    energy = 1 + 20 * opacity(radius * (1 + 0.3 * np.cos(2 * module.THETA)))
    level = energy[:, away < 0.7 * radius].mean()

    def improbability(parameters: np.ndarray) -> float:
        noisier = np.exp(module.NOISE_DEVIATION * parameters[-2])
        stronger = level * np.exp(module.LEVEL_DEVIATION * parameters[-1])
        model = noisier + stronger * (opacity(radius * (1 + waves @ parameters[:-2])) + module.FAINTEST)
        of_data = np.log(model) + (energy / model) ** module.POWER / module.POWER
        return float(cells * of_data.sum() + parameters @ parameters / 2)

    counts, expected = np.full(energy.shape, cells), np.ones_like(energy)
    shape = module._most_likely(energy, expected, counts, away, radius, waves)
    found = minimize(lambda levels: improbability(np.append(shape, levels)), np.zeros(2)).fun
    assert found < minimize(improbability, np.zeros(len(shape) + 2)).fun + 0.05


@pytest.mark.parametrize(
    ("share", "cells", "off"),
    [(0, 5.0, 0), (module.WIDE, 5.0, 0), (module.WIDE, 1.0, 0.32)],
    ids=["no", "yes", "unsure"],
)
def test_an_edge_is_wide_if_that_is_much_more_likely(share, cells, off):
    """An outline that takes it for a narrow one is a third of a cell off, as where few cells tell of it."""
    radius, away = 24.0, np.arange(1, 50, 2.0)
    reach = radius * (1 + 0.2 * np.cos(2 * module.THETA))
    opacity = (1 + np.exp((away - reach[:, None]) / (share * radius or module.SOFTNESS))) ** -2.0
    energy = 1 + 40 * (opacity + module.FAINTEST)
    shape = module._most_likely(energy, np.ones_like(energy), np.full(energy.shape, cells), away, radius, module.WAVES)
    assert np.mean(radius * (1 + module.WAVES @ shape) - reach) == pytest.approx(off, abs=0.05)


def test_a_side_that_differs_more_than_the_other_does_not_move_the_outline():
    """From one side to the other, the energy inside grows fifty times."""
    forged = ellipse(0, 15, 24, 32)
    energy, noise, within = energies(forged, 400)
    lopsided = (1 + (energy - 1) * np.exp(ASIDE / 12)).astype(np.float32)
    assert iou(filled(outlines_of(lopsided, noise, within, AXIS)), forged) > 0.95
