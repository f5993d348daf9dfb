import numpy as np
import pytest

from facemill.masks import ground_truth_mask, mask_iou


def region(height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.bool_)
    mask[height // 4 : height // 2, width // 3 : width // 2] = True
    return mask


@pytest.mark.parametrize("colour", [(255, 255, 255), (128, 128, 128), (255, 0, 0), (0, 0, 255), (90, 160, 60)])
@pytest.mark.parametrize("crf", [18, 32])
def test_coded_masks_of_any_colour_are_read(make_video, read_clip, colour, crf):
    forged = region(240, 320)
    frames = np.where(forged[..., None], colour, 0).astype(np.uint8)[None].repeat(3, axis=0)
    for frame in read_clip(make_video("mask.mp4", frames, crf=str(crf))):
        mask = ground_truth_mask(frame, 240, 320)
        assert set(np.unique(mask)) == {0, 255}
        assert mask_iou(mask, forged) >= 0.97


def test_black_mask_with_coding_noise_is_empty():
    frame = np.random.default_rng(0).integers(0, 40, (48, 64, 3), np.uint8)
    assert not ground_truth_mask(frame, 48, 64).any()


@pytest.mark.parametrize("factor", [2, 3])
def test_other_sizes_are_sampled_at_the_nearest_pixel(factor):
    forged = np.random.default_rng(0).random((12, 16)) < 0.5
    frame = np.repeat(np.where(forged, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    enlarged = ground_truth_mask(frame, 12 * factor, 16 * factor)
    np.testing.assert_array_equal(enlarged > 0, np.kron(forged, np.ones((factor, factor))) > 0)
    blown_up = np.kron(frame, np.ones((factor, factor, 1), np.uint8))
    np.testing.assert_array_equal(ground_truth_mask(blown_up, 12, 16) > 0, forged)


@pytest.mark.parametrize("factor", [3, 5])
def test_a_larger_mask_gives_the_pixel_in_the_middle_of_each_block(factor):
    forged = np.random.default_rng(0).random((12 * factor, 16 * factor)) < 0.5
    frame = np.repeat(np.where(forged, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    middle = forged[factor // 2 :: factor, factor // 2 :: factor]
    np.testing.assert_array_equal(ground_truth_mask(frame, 12, 16) > 0, middle)


@pytest.mark.parametrize(
    ("frame", "size", "told"),
    [
        (np.zeros((4, 4), np.uint8), (4, 4), "The mask frame is"),
        (np.zeros((4, 4, 3), np.float32), (4, 4), "The mask frame is"),
        (np.zeros((4, 4, 3), np.uint8), (0, 4), "0x4 pixels"),
    ],
)
def test_bad_arguments_are_refused(frame, size, told):
    with pytest.raises(ValueError, match=told):
        ground_truth_mask(frame, *size)
