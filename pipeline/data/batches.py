"""From stored bytes to what a detector and its loss are given, on whatever device the batch is."""

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
        spec: the detector's.
        augmentation: for training; without it the batch is the same each time.
        epoch, step: what augmentation and mixing are drawn by, with its seed.

    Returns:
        Images [B, 3, size, size] and masks [B, 1, size, size] of `spec.size`. Where crops have another size,
        images are resized bilinearly with antialiasing, and masks to the nearest pixel, so that they stay
        0 or 1. With `mixup`, one share a batch mixes each sample's image, mask and label with another's: labels
        and masks are soft then.
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
            # Mixup (Zhang et al., 2018, Eq. 1); a mixed mask is known where both of its parts are.
            rng = augmentation.draws(epoch, step, 1)
            share = rng.beta(alpha, alpha)
            partner = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
            images, masks, labels = (torch.lerp(x[partner], x, share) for x in (images, masks, labels))
            has_mask = has_mask & has_mask[partner]
    return ForgeryBatch(spec.normalise(images), labels, masks, has_mask)
