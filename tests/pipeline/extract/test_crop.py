import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemill.detectors.face import Face
from facemill.pipeline.config.sections import CropSettings
from facemill.pipeline.extract.crop import (
    TEMPLATE,
    Framing,
    align_affine,
    crop_image,
    crop_mask,
    mask_box,
    moved,
    relative_box,
    source_part,
    square_affine,
)


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2].T + affine[:, 2]


coordinate = st.floats(-50, 500, width=32)


@given(coordinate, coordinate, st.floats(1, 300, width=32), st.floats(1, 300, width=32), st.floats(1, 3))
def test_the_box_lies_centred_in_the_crop_with_its_longer_side_scaled(x, y, width, height, scale) -> None:
    settings = CropSettings(size=128, scale=scale)
    affine = square_affine(np.array([x, y, x + width, y + height], np.float32), settings)
    corners = apply(affine, np.array([[x, y], [x + width, y + height]], np.float64))
    assert corners.mean(axis=0) == pytest.approx([64, 64], abs=0.01)
    assert (corners[1] - corners[0]).max() == pytest.approx(128 / scale, rel=1e-3)
    inverse = cv2.invertAffineTransform(affine)
    assert apply(inverse, apply(affine, np.array([[3.0, 4.0]]))) == pytest.approx(np.array([[3.0, 4.0]]), abs=1e-6)


side = st.floats(1, 300, width=32)
share = st.floats(-1, 1)


@given(coordinate, coordinate, side, side, st.floats(1, 3), st.integers(32, 512))
def test_the_affine_of_any_crop_maps_the_face_into_it(x, y, width, height, scale, size) -> None:
    """Around the box, and around the forged regions of two frames: of these, their median lies in the crop."""
    face = Face(np.array([x, y, x + width, y + height], np.float32), 1.0, np.zeros((5, 2), np.float32))
    settings = CropSettings(size=size, scale=scale, around="face")
    inside = apply(Framing(settings, {}).affine(0, face), face.bbox.reshape(2, 2).astype(np.float64))
    assert inside.min() >= -0.01 * size
    assert inside.max() <= 1.01 * size


@given(coordinate, coordinate, side, share, share, st.floats(0.3, 2), st.floats(1, 3))
def test_the_affine_of_any_crop_around_a_mask_maps_the_region_into_it(x, y, width, left, top, wide, scale) -> None:
    face = Face(np.array([x, y, x + width, y + width * 0.8], np.float32), 1.0, np.zeros((5, 2), np.float32))
    region = np.array([x + left * width, y + top * width, x + (left + wide) * width, y + (top + 0.5) * width])
    framing = Framing(CropSettings(size=128, scale=scale, around="mask"), {4: [relative_box(region, face)] * 2})
    corners = apply(framing.affine(4, face), region.reshape(2, 2))
    assert corners.mean(axis=0) == pytest.approx([64, 64], abs=0.1)
    assert (corners[1] - corners[0]).max() == pytest.approx(128 / scale, rel=1e-3)
    assert corners.min() >= -1
    assert corners.max() <= 129


@given(st.floats(0.2, 5), st.floats(-3.1, 3.1), coordinate, coordinate)
def test_alignment_undoes_any_similarity(zoom, angle, x, y) -> None:
    """Landmarks that are the template turned, scaled and moved must land on the template again."""
    settings = CropSettings(size=100, scale=1.0, align="similarity")
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = TEMPLATE * 100 @ turn.T + [x, y]
    affine = align_affine(landmarks.astype(np.float32), settings)
    assert apply(affine, landmarks) == pytest.approx(TEMPLATE * 100, abs=0.02)


def test_alignment_scale_is_a_margin() -> None:
    landmarks = (TEMPLATE * 100).astype(np.float32)
    tight = align_affine(landmarks, CropSettings(size=100, scale=1.0))
    wide = align_affine(landmarks, CropSettings(size=100, scale=2.0))
    assert np.linalg.det(tight[:, :2]) == pytest.approx(4 * np.linalg.det(wide[:, :2]), rel=1e-3)
    degenerate = align_affine(np.full((5, 2), 7, np.float32), CropSettings(size=100))
    assert np.isfinite(degenerate).all()
    assert np.linalg.det(degenerate[:, :2]) > 0


def test_an_integer_box_is_cut_out_pixel_for_pixel(rng: np.random.Generator) -> None:
    frame = rng.integers(0, 256, (60, 80, 3), np.uint8)
    affine = square_affine(np.array([10, 5, 42, 37], np.float32), CropSettings(size=32, scale=1.0))
    assert np.array_equal(crop_image(frame, affine, 32), frame[5:37, 10:42])
    assert np.array_equal(crop_mask(frame[..., 0], affine, 32), frame[5:37, 10:42, 0])


def test_shrinking_by_an_integer_is_the_mean_of_blocks(rng: np.random.Generator) -> None:
    frame = rng.integers(0, 256, (120, 120, 3), np.uint8)
    affine = square_affine(np.array([12, 12, 108, 108], np.float32), CropSettings(size=32, scale=1.0))
    blocks = frame[12:108, 12:108].reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(crop_image(frame, affine, 32) - blocks).max() <= 1


@pytest.mark.parametrize("side", [199, 270, 650])
def test_shrinking_does_not_alias(side: int) -> None:
    """A one-pixel checkerboard that shrinks must come out gray; sampled naively it would be black and white."""
    frame = np.repeat((np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    affine = square_affine(np.array([0, 0, side, side], np.float32), CropSettings(size=100, scale=1.0))
    inside = crop_image(frame, affine, 100)[4:-4, 4:-4].astype(int)
    assert inside.std() < 25
    assert inside.mean() == pytest.approx(127.5, abs=3)


def test_beyond_the_frame_it_is_black() -> None:
    frame = np.full((20, 20, 3), 200, np.uint8)
    affine = square_affine(np.array([-10, -10, 10, 10], np.float32), CropSettings(size=20, scale=1.0))
    crop = crop_image(frame, affine, 20)
    assert (crop[:9, :9] == 0).all()
    assert (crop[11:, 11:] == 200).all()


def test_mask_box_is_that_of_the_largest_region_about_the_face() -> None:
    face = np.array([20, 10, 44, 34], np.float32)
    mask = np.zeros((80, 120), np.uint8)
    assert mask_box(mask, face) is None
    mask[12:30, 22:40] = 255
    mask[3:5, 30:32] = 255  # a speck of compression noise above the face, which is the first region
    mask[40, 10] = 255
    mask[10:70, 80:115] = 255  # somebody else's face
    assert mask_box(mask, face).tolist() == [22, 12, 40, 30]
    mask[12:30, 22:40] = 0
    assert mask_box(mask, face) is None
    assert mask_box(mask, np.array([200, 10, 220, 30], np.float32)) is None


def test_mask_box_of_a_face_over_the_edge_of_the_frame() -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[0:20, 0:12] = 255
    assert mask_box(mask, np.array([-10, -8, 14, 24], np.float32)).tolist() == [0, 0, 12, 20]


@pytest.mark.parametrize("repeat_edge", [False, True])
@given(st.floats(0.2, 4), st.floats(-3.1, 3.1), st.floats(-60, 220), st.floats(-60, 160))
def test_a_crop_needs_no_more_than_its_part_of_the_frame(repeat_edge, zoom, angle, x, y) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = np.hstack([turn, (32 - turn @ [x, y])[:, None]])
    rows, columns = source_part(affine, 64, frame.shape)
    part = crop_image(frame[rows, columns], moved(affine, columns.start, rows.start), 64, repeat_edge=repeat_edge)
    whole = crop_image(frame, affine, 64, repeat_edge=repeat_edge)
    # The library rounds positions to 1/32 pixel, and a part's positions are other numbers: noise shows each such step.
    assert np.abs(part.astype(int) - whole).mean() < 0.5
