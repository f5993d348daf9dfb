"""Who is forged when, and the region: against what was painted or blended in, before and after H.264."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

import facemill.masks.forged_region
from facemill.masks import FaceForgery, OriginalFrame, find_forgeries, mask_iou
from facemill.masks.face_difference import FINE, GRID
from facemill.masks.forged_region import _shifts, draw_regions
from facemill.masks.forgery import EYE, SMOOTH, STEP, _luma_energy
from facemill.pipeline.config.sections import CropSettings
from facemill.pipeline.extract.crop import align_affine
from tests.composed.forgeries import (
    FacedClip,
    ForgedClip,
    brightened,
    encoded,
    forge,
    framed,
    load_clip,
    side_by_side,
    unforged,
    verdicts_of,
)
from tests.masks.conftest import forged_pair

FRAMES = 12


def in_frame(forgery: FaceForgery, shape: tuple[int, ...]) -> np.ndarray:
    return forgery.warp(np.eye(2, 3), max(shape))[: shape[0], : shape[1]]


def agreement(clip: ForgedClip, forgeries: list[FaceForgery]) -> list[float]:
    pairs = zip(forgeries, clip.regions, clip.forged[:, 0], strict=True)
    return [mask_iou(in_frame(forgery, region.shape), region) for forgery, region, forged in pairs if forged]


def parts(mask: np.ndarray) -> int:
    return cv2.connectedComponents(mask)[0] - 1


@pytest.fixture(scope="module")
def people(media: Path) -> dict[str, FacedClip]:
    """Faces of about 100 pixels in windows of at most 240."""
    names = {"man": "videos/lp_d18.mp4", "dancer": "pairs/ghost_real.mp4"}
    clips = {name: load_clip(media / path, FRAMES) for name, path in names.items()}
    return {name: framed(clip, 100, 240) for name, clip in clips.items()}


# Painted, without media.


@pytest.fixture(scope="module")
def painted() -> ForgedClip:
    real, fake, regions = forged_pair(30)
    boxes = np.array([[100 + 2 * i, 40 - i, 200 + 2 * i, 200 - i] for i in range(len(real))], float)
    return ForgedClip(real, fake, regions > 0, boxes[:, None], np.ones((len(real), 1), np.bool_))


def test_a_painted_ellipse_is_found(painted):
    [forgeries] = verdicts_of(painted)
    assert all(one.forged and one.reliable for one in forgeries)
    assert min(agreement(painted, forgeries)) >= 0.95


def test_bounds_of_a_known_mask_are_exact():
    """A cell is a square of pixels around the place that the affine gives for its centre."""
    mask = np.zeros((GRID, GRID), np.uint8)
    mask[40:64, 30:50] = 255
    affine = np.array([[1.5, 0, 70.25], [0, 1.5, 20.25]])  # cells of 1.5 pixels from (70, 20)
    forgery = FaceForgery(forged=True, decided=True, score=9.0, reliable=True, mask=mask, affine=affine)
    np.testing.assert_allclose(forgery.box(), [70 + 45, 20 + 60, 70 + 75, 20 + 96])


def test_bounds_and_area_are_those_of_the_region(painted):
    [forgeries] = verdicts_of(painted)
    for forgery, region in zip(forgeries, painted.regions, strict=True):
        x, y, width, height = cv2.boundingRect(region.astype(np.uint8))
        box = forgery.box()
        assert box is not None
        np.testing.assert_allclose(box, [x, y, x + width, y + height], atol=6)
        assert forgery.coverage == pytest.approx(region.sum() / 160**2, rel=0.1)


@pytest.mark.parametrize(("known", "least", "most"), [(True, 0.9, 1), (False, 0, 0.85)])
def test_landmarks_bring_the_region_to_one_place(painted, rng, known, least, most):
    """Boxes that jitter do not smear the region if landmarks follow the face."""
    shifts = rng.uniform(-20, 20, (FRAMES, 1, 2))
    corners = np.array([[-25, -20], [25, -20], [0, 5], [-20, 30], [20, 30]])
    centres = np.array([[[150 + 2 * i, 120 - i]] for i in range(FRAMES)])
    landmarks = (centres + corners)[:, None].astype(float) if known else None
    [forgeries] = verdicts_of(replace(painted, boxes=painted.boxes + np.tile(shifts, 2), landmarks=landmarks))
    assert least <= np.mean(agreement(painted, forgeries)) <= most


def test_a_warp_follows_the_affine(painted):
    """Into a crop of twice the size, against the frame's own mask enlarged by OpenCV."""
    forgery = verdicts_of(painted)[0][0]
    affine = np.array([[2, 0, -2 * 60 + 0.5], [0, 2, -2 * 20 + 0.5]])
    warped = forgery.warp(affine, 400)
    assert set(np.unique(warped)) == {0, 255}
    region = painted.regions[0, 20:220, 60:260].astype(np.uint8)
    enlarged = cv2.resize(region, (400, 400), interpolation=cv2.INTER_NEAREST)
    assert mask_iou(warped, enlarged) >= 0.9


def test_the_same_frames_are_not_forged(painted):
    same = ForgedClip(painted.real, painted.real, painted.regions, painted.boxes, painted.forged)
    for one in verdicts_of(same)[0]:
        assert not one.forged
        assert one.score < 1
        assert one.box() is None
        assert one.coverage == 0
        assert one.mask.shape == (GRID, GRID)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_region_is_as_large_as_what_is_forged(painted, share):
    """Neither a cell's width larger nor smaller: cells are 2.5 pixels here."""
    [forgeries] = verdicts_of(dimmed(painted, share))
    areas = [
        np.count_nonzero(in_frame(one, region.shape)) for one, region in zip(forgeries, painted.regions, strict=True)
    ]
    assert np.mean(areas) == pytest.approx(np.count_nonzero(painted.regions[0]), rel=0.04)


def test_a_region_is_drawn_where_nothing_is_decided(painted):
    """Nobody is labelled by it, but whoever keeps such a face by its file's label has its mask."""
    [forgeries] = verdicts_of(dimmed(painted, 0.12))
    assert not any(one.decided for one in forgeries)
    assert min(agreement(painted, forgeries)) >= 0.95


def test_samples_without_a_face_have_no_verdict(painted):
    frames = zip(painted.real, painted.fake, painted.boxes, strict=True)
    measured = [OriginalFrame(real, boxes).measure(fake)[0] for real, fake, boxes in frames]
    found = find_forgeries([None, *measured[:4], None, None, *measured[4:6]])
    assert [one is None for one in found] == [True, *[False] * 4, True, True, False, False]
    assert all(one.forged for one in found if one is not None)
    assert find_forgeries([]) == []
    assert find_forgeries([None, None]) == [None, None]


def dimmed(painted: ForgedClip, share: float, frames: slice = slice(None)) -> ForgedClip:
    """Forged in some frames only, by a share of the difference."""
    fake = painted.real.copy()
    fake[frames] = np.rint(painted.real[frames] * (1 - share) + painted.fake[frames] * share)
    forged = np.zeros_like(painted.forged)
    forged[frames] = True
    return ForgedClip(painted.real, fake, painted.regions, painted.boxes, forged)


@pytest.mark.parametrize("frames", [slice(6, None), slice(3, 5)])
def test_a_sample_counts_with_those_that_are_alike_not_with_those_beside_it(painted, frames):
    """A faint forgery of some samples scores there as it does throughout the clip, and nowhere else."""
    [throughout] = verdicts_of(dimmed(painted, 0.3))
    clip = dimmed(painted, 0.3, frames)
    [some] = verdicts_of(clip)
    assert [one.forged for one in some] == clip.forged[:, 0].tolist()
    assert all(one.decided for one in some)
    scores = np.array([one.score for one in some])
    np.testing.assert_allclose(scores[frames], [one.score for one in throughout[frames]], rtol=0.1)


def test_samples_that_differ_little_are_decided_together(painted):
    """Every other sample of a forgery is fainter, by which alone it would be undecided."""
    every_other = np.arange(FRAMES) % 2 == 0
    fainter = dimmed(painted, 0.15).fake
    fake = np.where(every_other[:, None, None, None], fainter, dimmed(painted, 0.22).fake)
    [forgeries] = verdicts_of(ForgedClip(painted.real, fake, painted.regions, painted.boxes, painted.forged))
    assert all(one.forged and one.decided for one in forgeries)


@pytest.mark.parametrize(("share", "forged", "decided"), [(0.02, False, True), (0.15, None, False), (0.5, True, True)])
def test_what_lies_between_forgery_and_noise_is_undecided(painted, share, forged, decided):
    [forgeries] = verdicts_of(dimmed(painted, share))
    assert {one.decided for one in forgeries} == {decided}
    assert forged is None or {one.forged for one in forgeries} == {forged}


@pytest.mark.parametrize(("levels", "decided"), [(1, True), (6, False)])
def test_a_face_is_not_cleared_where_noise_would_hide_a_faint_forgery(painted, rng, levels, decided):
    noise = np.stack([cv2.GaussianBlur(one, (0, 0), 2) for one in rng.normal(size=painted.real.shape[:3])])
    fake = np.rint(painted.real + (noise / noise.std() * levels)[..., None]).clip(0, 255).astype(np.uint8)
    [forgeries] = verdicts_of(ForgedClip(painted.real, fake, painted.regions, painted.boxes, painted.forged))
    assert not any(one.forged for one in forgeries)
    assert {one.decided for one in forgeries} == {decided}


def test_another_moment_is_unreliable(painted):
    later = np.roll(painted.real, 5, axis=0)  # what moves by 15 pixels differs everywhere
    clip = ForgedClip(painted.real, later, painted.regions, painted.boxes, painted.forged)
    assert not any(one.reliable for one in verdicts_of(clip)[0])


@pytest.mark.parametrize(("columns", "reliable"), [(120, False), (8, True)])
def test_much_difference_far_from_the_face_is_unreliable(painted, columns, reliable):
    """A stripe beyond the grid of a small face, which sees no noise."""
    fake = painted.real.copy()
    fake[:, :, 320 - columns :] = np.minimum(fake[:, :, 320 - columns :], 185) + 70
    boxes = np.full((len(fake), 1, 4), (40, 60, 80, 110), float)
    clip = ForgedClip(painted.real, fake, painted.regions, boxes, painted.forged)
    assert {one.reliable for one in verdicts_of(clip)[0]} == {reliable}


@pytest.mark.parametrize(("levels", "reliable"), [(9, False), (2, True)])
def test_noise_that_would_hide_a_forgery_is_unreliable(painted, rng, levels, reliable):
    noise = cv2.GaussianBlur(rng.normal(size=painted.real.shape[1:3]), (0, 0), 4)
    fake = painted.real + (noise / noise.std() * levels)[..., None]
    fake = np.rint(fake).clip(0, 255).astype(np.uint8)
    clip = ForgedClip(painted.real, fake, painted.regions, painted.boxes, painted.forged)
    assert {one.reliable for one in verdicts_of(clip)[0]} == {reliable}


@pytest.mark.parametrize(
    ("rows", "columns", "confined"),
    [((0, 240), (0, 320), False), ((130, 240), (0, 320), False), ((60, 180), (105, 195), True)],
    ids=["everything", "from the chin down", "within the face"],
)
def test_a_forgery_that_reaches_beyond_the_face_does_not_count_as_noise(painted, rng, rows, columns, confined):
    """A weak static change beside coding noise: it is seen, and where it leaves the face its mask is not trusted."""
    noisy = painted.real + rng.normal(0, 4, painted.real.shape)
    change = cv2.GaussianBlur(rng.normal(size=painted.real.shape[1:3]), (0, 0), 16)
    inside = np.zeros(change.shape)
    inside[slice(*rows), slice(*columns)] = 8
    fake = np.rint(noisy + (change / change.std() * inside)[..., None]).clip(0, 255).astype(np.uint8)
    clip = ForgedClip(painted.real, fake, painted.regions, painted.boxes, painted.forged)
    [forgeries] = verdicts_of(clip)
    assert all(one.forged for one in forgeries)
    assert {one.reliable for one in forgeries} == {confined}


def test_what_differs_just_around_a_face_does_not_count_as_noise(painted, rng):
    """As hair that moves otherwise does: noise is that of cells farther away."""
    faint = dimmed(painted, 0.3)
    fake = faint.fake.copy()
    y, x = np.mgrid[: fake.shape[1], : fake.shape[2]] + 0.5
    for frame, (x1, y1, x2, y2) in zip(fake, faint.boxes[:, 0], strict=True):
        away = np.hypot((2 * x - x1 - x2) / (x2 - x1), (2 * y - y1 - y2) / (y2 - y1))
        grain = cv2.GaussianBlur(rng.normal(0, 120, away.shape), (0, 0), 1.5)  # of some 23 gray levels
        ring = ((away > 1.3) & (away < 1.6))[..., None]
        frame[:] = np.rint(frame + grain[..., None] * ring).clip(0, 255)
    scores, without = ([one.score for one in verdicts_of(clip)[0]] for clip in (replace(faint, fake=fake), faint))
    np.testing.assert_allclose(scores, without, rtol=0.02)


class Noisy:
    """A table that expects noise of 5 gray levels."""

    step = 1

    def expected(self, energy):
        return np.full(energy.shape, 25, np.float32)


def test_outlines_that_overlap_leave_no_hole(monkeypatch):
    real = np.full((240, 320, 3), 120, np.uint8)
    [measured] = OriginalFrame(real, [(120, 60, 180, 140)]).measure(real)
    angles = np.arange(64) * (2 * np.pi / 64)
    circles = [
        np.array([64 + shift, 64]) + 12 * np.stack([np.cos(angles), np.sin(angles)], axis=1) for shift in (-8, 8)
    ]
    monkeypatch.setattr(facemill.masks.forged_region, "_outlines", lambda *_: circles)
    [mask] = draw_regions([measured], np.zeros((1, GRID, GRID, 3), np.float32), np.array([True]), Noisy())
    x = np.arange(GRID) - 64
    away = np.hypot(np.abs(x)[None] - 8, x[:, None])  # from the nearer centre
    assert (mask[away < 11] == 255).all()
    assert not mask[away > 14].any()


def test_a_part_follows_the_landmarks_near_it_in_each_sample(monkeypatch):
    """A mouth that moves aside by 8 cells, in a face whose eyes and nose stay; what lies at an eye does not follow."""
    real, box = np.full((240, 320, 3), 120, np.uint8), (110, 80, 210, 160)  # cells of 1.5625 pixels
    face = np.array([[140, 105], [180, 105], [160, 118], [145, 140], [175, 140]], float)
    moved = np.array([[0, 0]] * 3 + [[1, 0]] * 2)
    measured = [OriginalFrame(real, [box], [face + shift * moved]).measure(real)[0] for shift in (-6.25, 6.25)]
    angles = np.arange(32) * (2 * np.pi / 32)
    disk = 6 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for place, moves in ((slice(3, 5), 8), (slice(1), 0)):
        known = np.stack([one.landmarks[place].mean(axis=0) for one in measured if one.landmarks is not None])
        circle = known.mean(axis=0) + disk
        monkeypatch.setattr(facemill.masks.forged_region, "_outlines", lambda *_, circle=circle: [circle])
        masks = draw_regions(measured, np.zeros((2, GRID, GRID, 3), np.float32), np.array([True, True]), Noisy())
        first, second = (np.argwhere(mask > 127).mean(axis=0)[::-1] for mask in masks)
        np.testing.assert_allclose(second - first, [moves, 0], atol=0.7)


def test_no_part_follows_the_nose():
    landmarks = np.tile(np.array([[50, 50], [78, 50], [64, 62], [52, 80], [76, 80]], float), (2, 1, 1))
    landmarks[1, 2] += 5
    assert not _shifts(np.array([[60, 62], [68, 62]]), landmarks).any()
    assert _shifts(np.array([[60, 62], [68, 62]]), np.zeros((2, 0, 2))).tolist() == [[0, 0]] * 2


@pytest.mark.parametrize(("levels", "found"), [(14, False), (16, True)])
def test_a_region_is_seeded_above_the_noise_also_where_nothing_differs_beyond_the_face(levels, found):
    """Noise of 5 gray levels is expected, and cells must exceed SEED * NOISE_CUT times that: 15."""
    real = np.full((240, 320, 3), 120, np.uint8)
    [measured] = OriginalFrame(real, [(120, 60, 180, 140)]).measure(real)
    inside = measured.distance < 0.6
    field = np.zeros((1, GRID, GRID, 3), np.float32)
    field[0, inside, 0] = levels
    [mask] = draw_regions([measured], field, np.array([True]), Noisy())
    assert np.count_nonzero(mask) == pytest.approx(found * np.count_nonzero(inside), rel=0.25)


# Blended into real clips, then encoded.

SOFT = 0.08  # sigma of a soft edge, as a share of the face's height

KINDS = [
    ("swap", True, 0.03, 23, 0.92),
    ("swap", False, 0.03, 23, 0.91),
    ("swap", True, SOFT, 23, 0.88),
    ("swap", True, 0.03, 40, 0.9),
    ("mouth", True, 0.03, 23, 0.9),
    ("eyes", True, 0.03, 23, 0.76),
]


@pytest.mark.parametrize(("kind", "matched", "softness", "crf", "least"), KINDS)
def test_forged_regions_are_found_after_compression(people, tmp_path, kind, matched, softness, crf, least):
    clip = forge(people["dancer"], people["man"], kind, matched=matched, softness=softness)
    clip = encoded(clip, tmp_path, real_crf=crf, fake_crf=crf)
    [forgeries] = verdicts_of(clip)
    assert all(one.forged and one.reliable for one in forgeries)
    assert np.mean(agreement(clip, forgeries)) >= least
    masks = [in_frame(one, clip.regions.shape[1:]) for one in forgeries]
    assert max(parts(mask) for mask in masks) <= 2
    assert clip.landmarks is not None
    crop = CropSettings(size=128, scale=1.6)
    in_crops = [
        one.warp(align_affine(points[0], crop), 128) for one, points in zip(forgeries, clip.landmarks, strict=True)
    ]
    assert np.mean([mask_iou(one, other) for one, other in pairwise(in_crops)]) >= 0.9


@pytest.mark.parametrize("person", ["man", "dancer"])
@pytest.mark.parametrize(("real_crf", "fake_crf"), [(23, 40), (15, 40), (40, 23)])
def test_a_real_encoded_again_is_not_forged(people, tmp_path, person, real_crf, fake_crf):
    clip = encoded(unforged(people[person]), tmp_path, real_crf=real_crf, fake_crf=fake_crf)
    [forgeries] = verdicts_of(clip)
    assert not any(one.forged or one.mask.any() for one in forgeries)


def test_noise_of_the_worse_encoding_does_not_hide_a_swap(people, tmp_path):
    clip = encoded(forge(people["dancer"], people["man"]), tmp_path, real_crf=15, fake_crf=40)
    [forgeries] = verdicts_of(clip)
    assert all(one.forged for one in forgeries)
    assert np.mean(agreement(clip, forgeries)) >= 0.75


@pytest.mark.parametrize("swapped", [True, False])
def test_brightness_and_contrast_of_the_whole_picture_are_no_forgery(people, tmp_path, swapped):
    clip = forge(people["dancer"], people["man"]) if swapped else unforged(people["dancer"])
    clip = encoded(brightened(clip), tmp_path, real_crf=23, fake_crf=23)
    [forgeries] = verdicts_of(clip)
    assert [one.forged for one in forgeries] == [swapped] * FRAMES
    if swapped:
        assert np.mean(agreement(clip, forgeries)) >= 0.85


@pytest.mark.parametrize("crf", [23, 40])
def test_of_two_people_the_forged_one_is_named(people, tmp_path, crf):
    man, dancer = people["man"], people["dancer"]
    height = min(len(man.frames[0]), len(dancer.frames[0]))
    man, dancer = (FacedClip(one.frames[:, :height], one.boxes, one.landmarks) for one in (man, dancer))
    clip = side_by_side(unforged(man), forge(dancer, man))
    for verdicts, truth in zip(
        verdicts_of(encoded(clip, tmp_path, real_crf=crf, fake_crf=crf)), clip.forged.T, strict=True
    ):
        assert [one.forged for one in verdicts] == truth.tolist()


@pytest.mark.parametrize("crf", [23, 40])
def test_frames_before_the_forgery_begins_are_not_forged(people, tmp_path, crf):
    clip = forge(people["dancer"], people["man"], frames=slice(FRAMES // 2, None))
    [forgeries] = verdicts_of(encoded(clip, tmp_path, real_crf=crf, fake_crf=crf))
    assert [one.forged for one in forgeries] == clip.forged[:, 0].tolist()


@pytest.mark.parametrize("sigma", [SMOOTH, EYE])
def test_energy_is_that_of_the_difference_smoothed_by_the_width_asked_for(sigma: float) -> None:
    """One cell that differs, in a field that is smoothed by `FINE` already."""
    cell = np.zeros((GRID, GRID), np.float32)
    cell[GRID // 2, GRID // 2] = 1000
    field = cv2.merge([cv2.GaussianBlur(cell, (0, 0), FINE)] * 3)
    expected = cv2.GaussianBlur(cell, (0, 0), sigma)[::STEP, ::STEP]
    found = np.sqrt(_luma_energy(field[None], sigma)[0])
    np.testing.assert_allclose(found, expected, atol=0.15 * expected.max())
