"""From raw batches to what detectors are given."""

from dataclasses import replace

import pytest
import torch

from facemill.detectors.forgery import ForgeryBatch, InputSpec
from facemill.pipeline.config.train_settings import AugmentSettings
from facemill.pipeline.data import Augmentation, prepare

SPEC = InputSpec(32, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))


@pytest.fixture
def raw() -> ForgeryBatch:
    """Five noisy crops of 64 pixels, the lower half of the fakes forged; the last fake's mask is unknown."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(5, 1, 64, 64, dtype=torch.uint8)
    masks[1:4, :, 32:] = 255
    images = torch.randint(0, 256, (5, 3, 64, 64), generator=generator, dtype=torch.uint8)
    known = torch.tensor([True, True, True, True, False])
    return ForgeryBatch(
        image=images, mask=masks, label=torch.tensor([0, 1, 1, 1, 1]), has_mask=known, index=torch.arange(5)
    )


def test_values_are_normalised(raw):
    batch = prepare(raw, InputSpec(64, SPEC.mean, SPEC.std))
    for channel in range(3):
        expected = (raw.images[:, channel] / 255 - SPEC.mean[channel]) / SPEC.std[channel]
        assert torch.allclose(batch.images[:, channel], expected, atol=1e-6)
    assert torch.equal(batch.masks, raw.masks.float() / 255)
    assert batch.labels.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert batch.labels.dtype == torch.float32
    assert batch.has_mask.tolist() == [True, True, True, True, False]


def test_other_sizes_are_resized_with_antialiasing_and_masks_stay_binary(raw):
    batch = prepare(raw, InputSpec(16, (0, 0, 0), (1, 1, 1)))
    assert batch.images.shape == (5, 3, 16, 16)
    assert batch.images.std() < 0.12  # noise is averaged; picking pixels would leave 0.29
    assert batch.images.mean().item() == pytest.approx(raw.images.float().mean().item() / 255, abs=0.01)
    assert torch.equal(batch.masks[1, 0], (torch.arange(16) >= 8).float()[:, None].expand(16, 16))
    larger = prepare(raw, InputSpec(90))
    assert larger.images.shape == (5, 3, 90, 90)
    assert set(larger.masks.unique().tolist()) == {0.0, 1.0}


def test_masks_that_shrink_take_the_pixel_in_the_middle(raw):
    """From 96 to 64: pixel i covers source pixels 1.5 i to 1.5 (i + 1), and takes the one at its centre."""
    stripes = (torch.arange(96) % 3 == 1).to(torch.uint8) * 255
    mask = torch.zeros(5, 1, 96, 96, dtype=torch.uint8) + stripes
    batch = prepare(raw.replace(image=torch.zeros(5, 3, 96, 96, dtype=torch.uint8), mask=mask), InputSpec(64))
    expected = stripes[torch.tensor([int(1.5 * (i + 0.5)) for i in range(64)])].float() / 255
    assert torch.equal(batch.masks[0, 0], expected.expand(64, 64))


def test_mixup_mixes_images_labels_and_masks_by_one_share(raw):
    spec = InputSpec(64, (0, 0, 0), (1, 1, 1))
    augmentation = Augmentation(AugmentSettings(flip=0, mixup=0.5), seed=2)
    shares = set()
    for step in range(8):
        batch = prepare(raw, spec, augmentation, epoch=1, step=step)
        plain = raw.images.float() / 255
        # The one partner and share that explain the first image must explain the labels and masks too.
        rows = [_explain(batch.images[n], plain, n) for n in range(5)]
        partners = [partner for partner, _ in rows]
        assert sorted(partners) == list(range(5))
        share = {round(share, 3) for (partner, share), n in zip(rows, range(5), strict=True) if partner != n}
        if not share:
            continue
        assert len(share) == 1
        [lam] = share
        shares.add(lam)
        for n, partner in enumerate(partners):
            expected = lam * raw.labels[n] + (1 - lam) * raw.labels[partner]
            assert batch.labels[n].item() == pytest.approx(expected.item(), abs=2e-3)
            mask = lam * (raw.masks[n] > 0) + (1 - lam) * (raw.masks[partner] > 0)
            assert torch.allclose(batch.masks[n], mask, atol=2e-3)
            assert batch.has_mask[n].item() == bool(raw.has_mask[n] and raw.has_mask[partner])
    assert len(shares) > 4


def _explain(mixed: torch.Tensor, images: torch.Tensor, own: int) -> tuple[int, float]:
    """Which partner, and which share of `own`, `mixed` is made of: the least-squares fit without an error."""
    for partner in [own, *(n for n in range(len(images)) if n != own)]:
        difference = (images[own] - images[partner]).flatten().double()
        offset = (mixed - images[partner]).flatten().double()
        share = (difference @ offset / (difference @ difference)).item() if partner != own else 1.0
        if torch.allclose(offset, share * difference, atol=1e-4):
            return partner, share
    raise AssertionError("the image is no mixture of two")


def test_training_batches_repeat_by_epoch_and_step(raw):
    augmentation = Augmentation(AugmentSettings(flip=0.5, affine=1.0, colour=0.5, mixup=0.3), seed=7)
    first = prepare(raw, SPEC, augmentation, epoch=2, step=9)
    again = prepare(raw, SPEC, augmentation, epoch=2, step=9)
    other = prepare(raw, SPEC, augmentation, epoch=2, step=10)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_clips_are_resized_mixed_and_normalised_as_their_frames(raw):
    single = prepare(raw, SPEC)
    clips = raw.replace(**{name: raw[name][:, None].repeat_interleave(3, 1) for name in ("image", "mask", "has_mask")})
    spec = replace(SPEC, clip=3)
    batch = prepare(clips, spec)
    assert (batch.images.shape, batch.masks.shape) == ((5, 3, 3, 32, 32), (5, 3, 1, 32, 32))
    for t in range(3):
        torch.testing.assert_close(batch.images[:, t], single.images)
        assert torch.equal(batch.masks[:, t], single.masks)
    torch.testing.assert_close(spec.preprocess(clips.images), batch.images)
    mixed = prepare(clips, spec, Augmentation(AugmentSettings(flip=0, mixup=0.5), seed=2))
    alone = prepare(raw, SPEC, Augmentation(AugmentSettings(flip=0, mixup=0.5), seed=2))
    torch.testing.assert_close(mixed.images[:, 1], alone.images)
    assert torch.equal(mixed.has_mask[:, 2], alone.has_mask)
    assert torch.equal(mixed.labels, alone.labels)
