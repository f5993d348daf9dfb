"""Augmentation: repeatable, each sample by itself, and masks where their images go."""

import io

import numpy as np
import pytest
import torch
from kornia.enhance import jpeg_codec_differentiable
from PIL import Image
from pydantic import ValidationError

from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.config.train_settings import AugmentSettings
from facemill.pipeline.data import Augmentation, augment

NOTHING = {"flip": 0.0}
ALL = dict.fromkeys(("jpeg", "noise", "blur", "flip", "colour", "gray", "affine"), 0.5)


def augmentation(seed: int = 0, **settings):
    """Augments images and masks, with nothing but these settings."""
    made = Augmentation(AugmentSettings(**{**NOTHING, **settings}), seed)

    def augment(images, masks, **when):
        batch = ForgeryBatch(image=images, mask=masks, label=torch.zeros(len(images)))
        made(batch, **when)
        return batch.images, batch.masks

    return augment


def smooth_images(count: int, side: int = 48) -> torch.Tensor:
    """Images with gentle gradients, each its own, in 0.2..0.8."""
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    waves = [torch.sin(3 * x + n) * torch.cos(2 * y + c) for n in range(count) for c in range(3)]
    return 0.5 + 0.3 * torch.stack(waves).reshape(count, 3, side, side)


def checkerboard(count: int, side: int = 64, square: int = 16) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side) // square, torch.arange(side) // square, indexing="ij")
    return ((x + y) % 2).float().expand(count, 1, side, side)


def test_nothing_asked_nothing_done():
    images, masks = smooth_images(3), checkerboard(3, 48)
    changed, moved = augmentation()(images, masks)
    assert torch.equal(changed, images)
    assert torch.equal(moved, masks)


def test_steps_epochs_and_seeds_differ_and_repeat():
    images = smooth_images(6)
    before = images.clone()
    runs = [
        augmentation(seed, **ALL)(images, images[:, :1], epoch=e, step=s)[0]
        for seed, e, s in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    ]
    for number, run in enumerate(runs):
        assert all(not torch.equal(run, other) for other in runs[:number])
    torch.manual_seed(99)  # the global generator plays no part
    assert torch.equal(augmentation(0, **ALL)(images, images[:, :1], epoch=0, step=1)[0], runs[1])
    assert torch.equal(images, before)
    assert min(run.min() for run in runs) >= 0
    assert max(run.max() for run in runs) <= 1


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_change_is_made_to_its_share_of_the_samples(name):
    images = smooth_images(1, 16).repeat(400, 1, 1, 1)
    changed = augmentation(**{name: 0.3})(images, images[:, :1])[0]
    share = (changed != images).flatten(1).any(1).float().mean()
    assert share == pytest.approx(0.3, abs=0.07)


def test_masks_go_where_their_images_go():
    board = checkerboard(40)
    images = board.expand(-1, 3, -1, -1)
    changed, moved = augmentation(flip=0.5, affine=1.0, rotate=25)(images, board)
    assert ((moved == 0) | (moved == 1)).all()
    assert not torch.equal(moved, board)
    certain = (changed[:, :1] < 0.01) | (changed[:, :1] > 0.99)  # not a mixture of two squares
    assert certain.float().mean() > 0.5
    assert torch.equal(moved[certain], changed[:, :1][certain].round())


def test_flips_mirror_left_and_right():
    images, masks = torch.rand(64, 3, 8, 8), torch.rand(64, 1, 8, 8)
    changed, moved = augmentation(flip=0.5)(images, masks)
    flipped = [bool(torch.equal(c, i.flip(-1))) for c, i in zip(changed, images, strict=True)]
    assert 16 < sum(flipped) < 48
    for n, flip in enumerate(flipped):
        assert torch.equal(changed[n], images[n].flip(-1) if flip else images[n])
        assert torch.equal(moved[n], masks[n].flip(-1) if flip else masks[n])


def test_shift_scale_and_rotation_are_what_the_settings_say():
    """Where three marked corners come to lie, against the similarity that the matrix should be."""
    side, count = 129, 60
    marks = torch.zeros(count, 3, side, side)
    points = np.array([[44.0, 44.0], [84.0, 44.0], [44.0, 84.0]])
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for channel, (px, py) in enumerate(points):
        marks[:, channel] = torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 18)
    moved = augmentation(affine=1.0)(marks, marks[:, :1])[0].double()
    weight = moved.sum((2, 3))
    found = torch.stack([(moved * x).sum((2, 3)) / weight, (moved * y).sum((2, 3)) / weight], 2).numpy()
    across, down = found[:, 1] - found[:, 0], found[:, 2] - found[:, 0]
    scale = np.hypot(*across.T) / 40
    angle = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert np.allclose(down, np.stack([-across[:, 1], across[:, 0]], 1), atol=0.2)  # a similarity, not mirrored
    turn = across[:, 0] / 40 + 1j * across[:, 1] / 40
    about = (points[0] - 64) @ [1, 1j] * turn + 64 + 64j
    shift = found[:, 0] @ [1, 1j] - about
    for amounts, largest in ((scale - 1, 0.2), (angle, 10), (shift.real, 12.9), (shift.imag, 12.9)):
        assert 0.8 * largest < np.abs(amounts).max() < 1.03 * largest
        assert amounts.min() < -0.5 * largest < 0.5 * largest < amounts.max()


def test_jpeg_is_that_of_an_independent_codec():
    pixels = (smooth_images(1)[0] * 255).round().to(torch.uint8) + torch.randint(0, 30, (3, 48, 48), dtype=torch.uint8)
    image = pixels[None].float() / 255
    changed = augmentation(jpeg=1.0, jpeg_quality=(70, 70))(image, image[:, :1])[0][0]
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "jpeg", quality=70)
    expected = np.asarray(Image.open(file)).astype(int)
    assert np.abs((changed * 255).round().permute(1, 2, 0).numpy().astype(int) - expected).mean() < 0.5


def test_beside_the_cpu_jpeg_is_a_model_of_that_codec(monkeypatch):
    """The model itself runs on the CPU here."""
    images, quality = smooth_images(2), torch.tensor([20.0, 90.0])
    monkeypatch.setattr(
        augment, "jpeg_codec_differentiable", lambda _, quality: jpeg_codec_differentiable(images, quality)
    )
    modelled, exact = augment._jpeg(images.to("meta"), quality), augment._jpeg(images, quality)
    assert ((modelled - exact).abs().mean((1, 2, 3)) * 255 < 2).all()
    others = augment._jpeg(images, quality.flip(0))
    assert ((modelled - exact).abs().sum((1, 2, 3)) < (modelled - others).abs().sum((1, 2, 3))).all()
    # A model may leave 0..1 by a little.
    monkeypatch.setattr(augment, "jpeg_codec_differentiable", lambda *_: torch.tensor([-0.25, 0.5, 1.25]))
    assert augment._jpeg(images.to("meta"), quality).tolist() == [0, 0.5, 1]


def test_noise_has_the_deviation_asked_for():
    images = torch.full((8, 3, 64, 64), 0.5)
    changed = augmentation(noise=1.0, noise_std=(0.05, 0.05))(images, images[:, :1])[0]
    assert torch.std(changed - images).item() == pytest.approx(0.05, rel=0.02)
    assert not torch.equal(changed[0], changed[1])


def test_noise_does_not_come_back() -> None:
    images = torch.full((1, 3, 2, 2), 0.5)
    augment = augmentation(noise=1.0, noise_std=(0.05, 0.05))
    assert len({augment(images, images[:, :1], step=step)[0].sum().item() for step in range(300)}) > 290


def test_blur_has_the_width_asked_for():
    point = torch.zeros(1, 3, 33, 33)
    point[..., 16, 16] = 1
    spread = augmentation(blur=1.0, blur_sigma=(1.5, 1.5))(point, point[:, :1])[0][0, 0].double()
    distance = (torch.arange(33) - 16) ** 2
    assert spread.sum().item() == pytest.approx(1, abs=1e-4)
    assert (spread.sum(0) * distance).sum().item() == pytest.approx(1.5**2, rel=0.03)


def test_brightness_contrast_or_hue_saturation_value():
    image = torch.tensor([0.6, 0.4, 0.3])[None, :, None, None].expand(200, 3, 4, 4)
    changed = augmentation(colour=1.0)(image, image[:, :1])[0][:, :, 0, 0].double().numpy()
    # Brightness and contrast: x (1 + c) + b; differences of channels grow alike, by up to a fifth.
    growth = (changed[:, 0] - changed[:, 1]) / 0.2, (changed[:, 1] - changed[:, 2]) / 0.1
    alike = np.isclose(*growth, atol=1e-4)
    assert 70 < alike.sum() < 130
    assert np.abs(growth[0][alike] - 1).max() <= 0.2 + 1e-5
    added = changed[alike, 2] - 0.3 * growth[0][alike]
    assert 0.15 < np.abs(added).max() <= 0.2 + 1e-5
    # Hue, saturation and value, by the standard library.
    import colorsys

    hues, saturations, values = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in changed[~alike]]).T
    hue, saturation, value = colorsys.rgb_to_hsv(0.6, 0.4, 0.3)
    turn = (hues - hue + 0.5) % 1 - 0.5
    for amount, largest in ((turn * 360, 40), (saturations - saturation, 0.12), (values - value, 0.08)):
        assert 0.8 * largest < np.abs(amount).max() <= largest + 1e-3


def test_principal_components_are_a_third_kind_of_colour_change():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[0.08, 0.02, 0.0], [0.05, -0.03, 0.01], [0.03, 0.01, 0.04]])
    image = 0.5 + torch.einsum("cd,dyx->cyx", mixing, torch.randn(3, 32, 32, generator=generator))
    images = image.clamp(0.1, 0.9).expand(3000, 3, 32, 32)
    changed = augmentation(colour=1.0, pca=2.0, brightness=0, contrast=0, hue=0, saturation=0, value=0)(
        images, images[:, :1]
    )[0]
    moved = (changed - images).double()
    shifts = moved.mean((2, 3)).numpy()
    chosen = np.abs(shifts).max(1) > 1e-5  # the other two kinds change nothing here
    assert 900 < chosen.sum() < 1100
    assert float(moved.std((2, 3)).max()) < 1e-3  # a shift of all pixels
    values, vectors = np.linalg.eigh(np.cov(images[0].flatten(1).double().numpy()))
    along = shifts[chosen] @ vectors / values  # the factor of each component
    assert np.allclose(along.mean(0), 0, atol=0.25)
    assert np.allclose(along.std(0), 2, rtol=0.1)
    assert np.abs(np.corrcoef(along.T) - np.eye(3)).max() < 0.15


def test_gray_has_three_equal_channels():
    image = torch.tensor([0.6, 0.4, 0.3])[None, :, None, None].expand(2, 3, 4, 4)
    gray = 0.299 * 0.6 + 0.587 * 0.4 + 0.114 * 0.3
    assert torch.allclose(augmentation(gray=1.0)(image, image[:, :1])[0], torch.full((2, 3, 4, 4), gray), atol=1e-4)


def test_autocast_spoils_nothing():
    images, masks = smooth_images(6), checkerboard(6, 48)
    expected = augmentation(**ALL)(images, masks)
    with torch.autocast("cpu", torch.bfloat16):
        found = augmentation(**ALL)(images, masks)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("settings", [{"jpeg_quality": (90, 60)}, {"blur_sigma": (0, 1)}, {"scale": 1.0}, {"gray": 2}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        AugmentSettings(**settings)


@pytest.mark.parametrize("settings", [{"flip": 1.0}, {"affine": 1.0, "rotate": 25}, {"flip": 0.5, "affine": 0.7}])
def test_landmarks_stay_on_what_they_mark(settings):
    points = torch.tensor([[20.5, 22.5], [44.5, 24.5], [32.5, 34.5], [24.5, 46.5], [42.5, 44.5]])
    images = torch.zeros(8, 3, 64, 64)
    for colour, (x, y) in zip(
        torch.rand(5, 3, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.5, points, strict=True
    ):
        images[:, :, int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = colour[:, None, None]
    batch = ForgeryBatch(image=images, label=torch.zeros(8), landmarks=points.expand(8, 5, 2))
    Augmentation(AugmentSettings(**{**NOTHING, **settings}), 3)(batch)
    swapped = 0
    for image, before, after in zip(batch.images, images, batch["landmarks"], strict=True):
        # Eyes and corners of the mouth are named as the viewer sees them, also after mirroring.
        assert after[0, 0] < after[1, 0]
        assert after[3, 0] < after[4, 0]
        names = [0, 1, 2, 3, 4]
        if not torch.allclose(_colour(image, after[0]), _colour(before, points[0]), atol=0.1):
            names, swapped = [1, 0, 2, 4, 3], swapped + 1
        for name, place in zip(names, after, strict=True):
            assert torch.allclose(_colour(image, place), _colour(before, points[name]), atol=0.1)
    assert swapped == 8 if settings == {"flip": 1.0} else swapped < 8


def _colour(image: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    x, y = point.floor().long().tolist()
    return image[:, y, x]


@pytest.mark.parametrize("name", sorted({*ALL} - {"noise"}))
def test_frames_of_a_clip_are_changed_alike(name):
    """Two clips of three equal frames: their frames stay equal, the clips get what single crops would get."""
    images, board = smooth_images(8, 32), checkerboard(8, 32, 8)
    changed, moved = augmentation(3, **{name: 0.5})(images, board)
    clips, masks = (x[:, None].expand(-1, 3, -1, -1, -1) for x in (images, board))
    changed_clips, moved_clips = augmentation(3, **{name: 0.5})(clips, masks)
    assert not torch.equal(changed, images)
    for t in range(3):
        torch.testing.assert_close(changed_clips[:, t], changed, rtol=0, atol=1e-6)
        assert torch.equal(moved_clips[:, t], moved)


def test_noise_is_each_frame_s_own_but_of_one_strength():
    clips = torch.full((6, 4, 3, 24, 24), 0.5)
    noise = augmentation(noise=1.0, noise_std=(0.01, 0.1))(clips, clips[:, :, :1])[0] - clips
    assert not torch.equal(noise[:, 0], noise[:, 1])
    strengths = noise.flatten(2).std(2)  # [clip, frame]
    assert (strengths / strengths.mean(1, keepdim=True) - 1).abs().max() < 0.1
    assert strengths[:, 0].max() > 2 * strengths[:, 0].min()


def test_landmarks_of_a_clip_follow_and_users_transforms_see_clips():
    points = torch.rand(4, 5, 2) * 32
    settings = AugmentSettings(flip=0.5, affine=0.5)
    single = ForgeryBatch(image=smooth_images(4, 32), landmarks=points, label=torch.zeros(4))
    clips = single.replace(**{name: single[name][:, None].repeat_interleave(2, 1) for name in ("image", "landmarks")})
    seen = []
    made = Augmentation(settings, 1)
    made._more = [lambda batch, rng: seen.append(batch.images.shape)]
    made(clips)
    assert seen == [(4, 2, 3, 32, 32)]
    Augmentation(settings, 1)(single)
    assert not torch.equal(single["landmarks"], points)
    for t in range(2):
        torch.testing.assert_close(clips["landmarks"][:, t], single["landmarks"])
