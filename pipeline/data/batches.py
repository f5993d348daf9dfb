"""Conversion of stored uint8 batches to the inputs of a detector and its loss, on the batch's device."""

import torch
from torch.nn import functional as F

from facemill.detectors.forgery import ForgeryBatch, InputSpec
from facemill.pipeline.data.augment import Augmentation
from facemill.pipeline.data.sample import RawBatch

__all__ = ["prepare"]


@torch.no_grad()
def prepare(
    raw: RawBatch, spec: InputSpec, augmentation: Augmentation | None = None, *, epoch: int = 0, step: int = 0
) -> ForgeryBatch:
    """Resize, augment, mix and normalise a batch.

    Args:
        spec: the detector's input specification.
        augmentation: for training; without it the result is deterministic.
        epoch, step: with the augmentation's seed, determine augmentation and mixup.

    Returns:
        Images [B, 3, size, size] and masks [B, 1, size, size] of `spec.size`. If crops have another size,
        images are resized bilinearly with antialiasing, and masks to the nearest pixel, so that they stay
        0 or 1. With `mixup`, each sample's image, mask and label are mixed with another's by one ratio per
        batch: labels and masks are then soft.
    """
    images = raw.images.float() / 255
    masks = (raw.masks > 127).float()
    if images.shape[-1] != spec.size:
        size = (spec.size, spec.size)
        images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
        masks = F.interpolate(masks, size, mode="nearest-exact")
    labels, has_mask = raw.labels.float(), raw.has_mask
    if augmentation is not None:
        images, masks = augmentation(images, masks, epoch=epoch, step=step)
        if alpha := augmentation.settings.mixup:
            # Mixup (Zhang et al., 2018, Eq. 1); a mixed mask is known only if both of its parts are.
            rng = augmentation.generator(epoch, step, 1)
            share = rng.beta(alpha, alpha)
            partner = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
            images, masks, labels = (torch.lerp(x[partner], x, share) for x in (images, masks, labels))
            has_mask = has_mask & has_mask[partner]
    return ForgeryBatch(spec.normalise(images), labels, masks, has_mask)
