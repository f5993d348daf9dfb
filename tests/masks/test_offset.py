import cv2
import numpy as np
import pytest

from facemill.masks import estimate_offset, thumbnail

FRAMES, MAX_OFFSET = 12, 4


def thumbnails(frames: np.ndarray) -> np.ndarray:
    return np.stack([thumbnail(frame) for frame in frames])


def shifted(real: np.ndarray, fake: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frames of two clips in step, after one lost its beginning: fake frame = real frame + offset."""
    return real[max(0, offset) :][:FRAMES], fake[max(0, -offset) :][:FRAMES]


@pytest.fixture(scope="module")
def moving_pair(moving_clip):
    """Clips of 20 frames; a fifth of the picture is forged, and both carry noise."""
    real = moving_clip(20, 180, 320, seed=3)
    fake = real.copy()
    fake[:, 50:130, 100:240] = moving_clip(20, 180, 320, seed=4)[:, 50:130, 100:240]
    noise = np.random.default_rng(0).normal(0, 3, (2, *real.shape))
    return tuple(
        np.clip(clip + extra, 0, 255).astype(np.uint8) for clip, extra in zip((real, fake), noise, strict=True)
    )


@pytest.fixture(scope="module")
def ghost_thumbnails(ghost_clips):
    return {name: thumbnails(clip) for name, clip in ghost_clips.items()}


@pytest.mark.parametrize(
    ("size", "expected"), [((720, 1280), (54, 96)), ((560, 464), (96, 80)), ((20, 30), (20, 30)), ((1, 400), (1, 96))]
)
def test_thumbnail_size(size, expected):
    small = thumbnail(np.full((*size, 3), 200, np.uint8))
    assert small.shape == expected
    assert small.dtype == np.float32
    assert np.allclose(small, 200)


def test_thumbnail_is_the_mean_luma_of_blocks():
    frame = np.random.default_rng(0).integers(0, 256, (192, 96, 3), np.uint8)
    luma = frame @ np.array([0.299, 0.587, 0.114])
    expected = luma.reshape(96, 2, 48, 2).mean(axis=(1, 3))
    assert np.abs(thumbnail(frame) - expected).max() <= 0.51


@pytest.mark.parametrize("offset", range(-MAX_OFFSET, MAX_OFFSET + 1))
def test_a_shift_of_a_moving_clip_is_found(moving_pair, offset):
    real, fake = shifted(*moving_pair, offset)
    found = estimate_offset(thumbnails(real), thumbnails(fake), MAX_OFFSET)
    assert found.offset == offset
    assert found.aligned
    assert found.residual < 2.5


@pytest.mark.parametrize("fake", ["fake_elon", "fake_mark"])
@pytest.mark.parametrize("offset", range(-MAX_OFFSET, MAX_OFFSET + 1))
def test_a_shift_of_a_real_swap_is_found(ghost_thumbnails, fake, offset):
    found = estimate_offset(*shifted(ghost_thumbnails["real"], ghost_thumbnails[fake], offset), MAX_OFFSET)
    assert (found.offset, found.aligned) == (offset, True)


@pytest.mark.parametrize("crf", [23, 40])
def test_a_shift_is_found_after_compression(ghost_clips, make_video, read_clip, crf):
    clips = [ghost_clips[name][:20] for name in ("real", "fake_elon")]
    coded = [thumbnails(read_clip(make_video(f"{i}.mp4", clip, crf=str(crf)))) for i, clip in enumerate(clips)]
    for offset in (-3, 0, 1):
        found = estimate_offset(*shifted(*coded, offset), MAX_OFFSET)
        assert (found.offset, found.aligned) == (offset, True)


def test_a_clip_that_stands_still_has_no_offset(moving_clip, make_video, read_clip):
    still = moving_clip(1, 180, 320, seed=5).repeat(20, axis=0)
    coded = [thumbnails(read_clip(make_video(f"{crf}.mp4", still, crf=crf))) for crf in ("23", "40")]
    for offset in (0, 2):
        found = estimate_offset(*shifted(*coded, offset), MAX_OFFSET)
        assert (found.offset, found.aligned) == (0, True)


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_gain_within_the_noise_gives_no_offset(offset):
    """The true offset fits best, but hardly better than none."""
    sway = 8 * np.sin(np.arange(20, dtype=np.float32) / 4)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 2, (2, 20, 54, 96)).astype(np.float32)
    real, fake = 100 + sway + noise
    found = estimate_offset(*shifted(real, fake, offset), MAX_OFFSET)
    assert (found.offset, found.aligned) == (0, True)


def test_the_forged_region_has_no_say(moving_clip):
    """A forgery that moves far more than the rest of the picture, and otherwise."""
    real = moving_clip(20, 180, 320, seed=8) // 8 + 80
    fake = real.copy()
    fake[:, 30:150, 80:220] = moving_clip(20, 180, 320, seed=9)[:, 30:150, 80:220]
    found = estimate_offset(*shifted(thumbnails(real), thumbnails(fake), 2), MAX_OFFSET)
    assert (found.offset, found.aligned) == (2, True)
    assert found.residual < 1


def test_identical_still_clips_tie_at_zero():
    still = np.full((FRAMES, 10, 12), 80, np.float32)
    assert estimate_offset(still, still, MAX_OFFSET).offset == 0
    assert estimate_offset(still, still, MAX_OFFSET).residual == 0


def test_mirrored_and_differently_cut_fakes_are_refused(ghost_thumbnails):
    real, fake = ghost_thumbnails["real"], ghost_thumbnails["fake_elon"]
    assert not estimate_offset(real[:FRAMES], fake[:FRAMES, :, ::-1], MAX_OFFSET).aligned
    for start in (8, 20, 40):
        assert not estimate_offset(real[:FRAMES], fake[start : start + FRAMES], MAX_OFFSET).aligned


def test_a_faint_clip_cut_elsewhere_is_refused(moving_clip):
    """Its residual is that of a still pair, but it moves, and not as its original does."""
    faint = thumbnails(moving_clip(40, 180, 320, seed=10, speed=(5, 3))) / 12
    found = estimate_offset(faint[:FRAMES], faint[24:][:FRAMES], MAX_OFFSET)
    assert found.residual < 2.5
    assert not found.aligned


def test_the_same_motion_in_another_picture_is_refused(moving_pair):
    real = thumbnails(moving_pair[0][:FRAMES])
    assert not estimate_offset(real, real + 30, MAX_OFFSET).aligned


@pytest.mark.parametrize("name", ["lp_d18.mp4", "moviepy_chaplin.mp4", "tc_nasa_13013.mp4", "fsgan_shinzo.mp4"])
def test_another_video_is_refused(ghost_thumbnails, media, read_clip, name):
    frames = read_clip(media / "videos" / name, FRAMES)
    other = thumbnails(np.stack([cv2.resize(frame, (464, 560)) for frame in frames]))
    assert not estimate_offset(ghost_thumbnails["real"][:FRAMES], other, MAX_OFFSET).aligned
    assert not estimate_offset(other, ghost_thumbnails["real"][:FRAMES], MAX_OFFSET).aligned


def test_another_still_picture_is_refused(moving_clip):
    one, other = (thumbnails(moving_clip(1, 90, 160, seed=seed).repeat(FRAMES, axis=0)) for seed in (6, 7))
    assert not estimate_offset(one, other, MAX_OFFSET).aligned


@pytest.mark.parametrize(("real_frames", "fake_frames"), [(1, 1), (2, 2), (12, 1), (12, 5), (3, 12)])
def test_short_clips_are_compared_as_far_as_they_go(moving_pair, real_frames, fake_frames):
    real, fake = (thumbnails(clip[:FRAMES]) for clip in moving_pair)
    assert estimate_offset(real[:real_frames], fake[:fake_frames], MAX_OFFSET).offset == 0


@pytest.mark.parametrize(
    ("real", "fake", "max_offset"),
    [
        (np.zeros((3, 4, 5)), np.zeros((3, 4, 6)), 1),
        (np.zeros((4, 5)), np.zeros((4, 5)), 1),
        (np.zeros((0, 4, 5)), np.zeros((3, 4, 5)), 1),
        (np.zeros((3, 4, 5)), np.zeros((3, 4, 5)), -1),
    ],
)
def test_clips_that_cannot_be_aligned_are_refused(real, fake, max_offset):
    with pytest.raises(ValueError, match="pass"):
        estimate_offset(real, fake, max_offset)


def test_a_thumbnail_needs_an_rgb_frame():
    with pytest.raises(ValueError, match="RGB"):
        thumbnail(np.zeros((4, 5), np.uint8))
