import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from facemill.masks import difference_mask, mask_iou
from facemill.masks.difference import luma_difference

FRAMES = arrays(np.uint8, (7, 9, 3))
PIXELWISE = {"open": 0, "close": 0, "fill_holes": False}


def gray_pair(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A pair of frames that differ fully where `mask` is true, and not at all elsewhere."""
    fake = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    return np.zeros_like(fake), fake


def disk(radius: int) -> np.ndarray:
    """Independent of the code under test: a Euclidean distance transform of one pixel."""
    point = np.ones((2 * radius + 1,) * 2)
    point[radius, radius] = 0
    return ndimage.distance_transform_edt(point) <= radius


def random_masks(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = rng.integers(1, 40, (count, 2))
    return [rng.random(tuple(shape)) < share for shape, share in zip(shapes, rng.uniform(0.2, 0.8, count), strict=True)]


def test_luma_difference_weighs_channels_as_bt601():
    rng = np.random.default_rng(0)
    real, fake = rng.integers(0, 256, (2, 20, 30, 3), np.uint8)
    expected = np.abs(real.astype(float) - fake.astype(float)) @ [0.299, 0.587, 0.114]
    assert np.abs(luma_difference(real, fake) - expected).max() <= 0.51  # rounded to whole levels


def test_difference_is_taken_before_gray():
    """Two colours of one luma still differ."""
    red, gray = np.full((4, 4, 3), (200, 0, 0), np.uint8), np.full((4, 4, 3), 60, np.uint8)
    assert (luma_difference(red, gray) > 80).all()


@pytest.mark.parametrize("level", [0, 38, 51, 102, 254])
def test_a_difference_equal_to_the_threshold_is_not_forged(level):
    real, fake = np.zeros((1, 2, 3), np.uint8), np.array([[[level] * 3, [level + 1] * 3]], np.uint8)
    assert difference_mask(real, fake, threshold=level / 255, **PIXELWISE).tolist() == [[0, 255]]


def test_default_threshold_is_that_of_lrl():
    real, fake = np.zeros((1, 2, 3), np.uint8), np.array([[[38] * 3, [39] * 3]], np.uint8)
    assert 38 / 255 < 0.15 < 39 / 255
    assert difference_mask(real, fake, **PIXELWISE).tolist() == [[0, 255]]


def test_identical_frames_give_an_empty_mask(moving_clip):
    frame = moving_clip(1, 48, 64, seed=0)[0]
    mask = difference_mask(frame, frame.copy())
    assert mask.dtype == np.uint8
    assert mask.shape == (48, 64)
    assert not mask.any()


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_opening_is_that_of_scipy(radius):
    for mask in random_masks(40):
        eroded = ndimage.binary_erosion(mask, disk(radius), border_value=1)
        expected = ndimage.binary_dilation(eroded, disk(radius))
        opened = difference_mask(*gray_pair(mask), open=radius, close=0, fill_holes=False)
        np.testing.assert_array_equal(opened > 0, expected)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_closing_is_that_of_scipy(radius):
    for mask in random_masks(40):
        dilated = ndimage.binary_dilation(mask, disk(radius))
        expected = ndimage.binary_erosion(dilated, disk(radius), border_value=1)
        closed = difference_mask(*gray_pair(mask), open=0, close=radius, fill_holes=False)
        np.testing.assert_array_equal(closed > 0, expected)


def test_hole_filling_is_that_of_scipy():
    for mask in random_masks(300):
        filled = difference_mask(*gray_pair(mask), open=0, close=0)
        np.testing.assert_array_equal(filled > 0, ndimage.binary_fill_holes(mask))


@settings(max_examples=50, deadline=None)
@given(FRAMES, FRAMES, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_adds_pixels(real, fake, one, other):
    low, high = sorted((one, other))
    loose, strict = (difference_mask(real, fake, threshold=cut, **PIXELWISE) for cut in (low, high))
    assert not (strict & ~loose).any()


@settings(max_examples=50, deadline=None)
@given(FRAMES, FRAMES, st.floats(0, 1))
def test_real_and_fake_may_change_places(real, fake, threshold):
    mask = difference_mask(real, fake, threshold=threshold)
    np.testing.assert_array_equal(mask, difference_mask(fake, real, threshold=threshold))
    assert set(np.unique(mask)) <= {0, 255}


def test_views_are_taken_as_they_are(moving_clip):
    real, fake = moving_clip(2, 30, 40, seed=0)
    mirrored = difference_mask(real[:, ::-1], fake[:, ::-1])
    np.testing.assert_array_equal(mirrored, difference_mask(real, fake)[:, ::-1])


FRAME = np.zeros((6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("real", "fake", "told"),
    [
        (FRAME, FRAME[:5], "pair videos of one size"),
        (FRAME[:, :, :1], FRAME[:, :, :1], "The real frame is"),
        (FRAME[..., 0], FRAME[..., 0], "The real frame is"),
        (FRAME.astype(np.float32), FRAME, "The real frame is"),
        (FRAME, FRAME.astype(np.int16), "The fake frame is"),
        (FRAME[:0], FRAME[:0], "The real frame is"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused(real, fake, told):
    with pytest.raises(ValueError, match=told):
        difference_mask(real, fake)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": -0.1},
        {"threshold": 38.0},
        {"threshold": float("nan")},
        {"open": -1},
        {"close": -1},
    ],
)
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="pass"):
        difference_mask(FRAME, FRAME, **options)


# What compression leaves of a region that is known.


@pytest.mark.parametrize(("crf", "least"), [(0, 0.95), (23, 0.85), (40, 0.7)])
def test_a_clearly_forged_region_is_found_after_compression(encoded_pair, crf, least):
    real, fake, regions = encoded_pair(70, crf)
    agreement = [mask_iou(difference_mask(*pair), region) for *pair, region in zip(real, fake, regions, strict=True)]
    assert min(agreement) >= least


def test_tiny_frames_have_a_mask():
    for height, width in ((1, 1), (1, 7), (5, 3)):
        real, fake = np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), 200, np.uint8)
        assert (difference_mask(real, fake) == 255).all()


def test_mask_iou():
    a, b = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    assert mask_iou(a, b) == 1.0
    a[:2] = 255
    assert mask_iou(a, b) == 0.0
    b[1:3] = 255
    assert mask_iou(a, b) == pytest.approx(4 / 12)
    with pytest.raises(ValueError, match="one size"):
        mask_iou(a, b[:3])


# Real face swaps.


@pytest.fixture(scope="module")
def ghost_boxes(ghost_clips) -> dict[int, np.ndarray]:
    """Face boxes of every third real frame, by facenet-pytorch's own detector."""
    facenet_pytorch = pytest.importorskip("facenet_pytorch")
    detector = facenet_pytorch.MTCNN(select_largest=True, device="cpu")
    frames = range(0, len(ghost_clips["real"]), 3)
    return {i: np.asarray(detector.detect(ghost_clips["real"][i])[0][0], float) for i in frames}


@pytest.mark.parametrize("fake", ["fake_elon", "fake_mark"])
def test_masks_of_real_swaps_lie_on_the_face(ghost_clips, ghost_boxes, fake):
    on_face = []
    for i, (x1, y1, x2, y2) in ghost_boxes.items():
        margin = 0.1 * np.array([x2 - x1, y2 - y1])  # a box enlarged to 1.2 times its size
        (left, top), (right, bottom) = np.array([x1, y1]) - margin, np.array([x2, y2]) + margin
        mask = difference_mask(ghost_clips["real"][i], ghost_clips[fake][i])
        inside = mask[int(top) : int(bottom), int(left) : int(right)]
        on_face.append(mask.any() and np.count_nonzero(inside) >= 0.9 * np.count_nonzero(mask))
    assert np.mean(on_face) >= 0.95
