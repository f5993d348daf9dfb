"""Conversion of stored uint8 batches to the inputs of a detector and its loss, on the batch's device."""

import torch
from torch.nn import functional as F

from facemill.detectors.forgery import ForgeryBatch, InputSpec
from facemill.pipeline.data.augment import Augmentation

__all__ = ["prepare"]


@torch.no_grad()
def prepare(
    raw: ForgeryBatch, spec: InputSpec, augmentation: Augmentation | None = None, *, epoch: int = 0, step: int = 0
) -> ForgeryBatch:
    """Resize, augment, mix and normalise a batch.

    Args:
        raw: as stacked by `collate`.
        spec: the detector's input specification.
        augmentation: for training; without it the result is deterministic.
        epoch, step: with the augmentation's seed, determine augmentation and mixup.

    Returns:
        the same fields, in a new batch: images [B, 3, size, size] and masks [B, 1, size, size] of `spec.size`, of clips
        [B, T, 3, size, size] and [B, T, 1, size, size], which are augmented alike in all of their frames. If
        crops have another size, images are resized bilinearly with antialiasing, and masks to the nearest pixel, so
        that they stay 0 or 1; landmarks are scaled, and follow the augmentation. With `mixup`, each sample's image,
        mask and label are mixed with another's by one ratio per batch: labels and masks are then soft, and all other
        fields are those of the first.

    Raises:
        ConfigError: for clips instead of crops, crops instead of clips, or clips of another length.
    """
    spec.check(raw.images)
    batch = raw.replace(image=raw.images.float() / 255, label=raw.labels.float())
    if raw.masks is not None:
        batch["mask"] = (raw.masks > 127).float()
    if "xray" in raw:
        batch["xray"] = raw["xray"].float() / 255
    if batch.images.shape[-1] != spec.size:
        _resize(batch, spec)
    if augmentation is not None:
        augmentation(batch, epoch=epoch, step=step)
        if alpha := augmentation.settings.mixup:
            # Mixup (Zhang et al., 2018, Eq. 1); a mixed mask is known only if both of its parts are.
            rng = augmentation.generator(epoch, step, 1)
            share = rng.beta(alpha, alpha)
            partner = torch.from_numpy(rng.permutation(batch.size)).to(batch.labels.device, non_blocking=True)
            for name in batch.keys() & {"image", "mask", "xray", "label"}:
                batch[name] = torch.lerp(batch[name][partner], batch[name], share)
            if batch.has_mask is not None:
                batch["has_mask"] = batch.has_mask & batch.has_mask[partner]
    batch["image"] = spec.normalise(batch.images)
    return batch


def _resize(batch: ForgeryBatch, spec: InputSpec) -> None:
    if "landmarks" in batch:
        batch["landmarks"] = batch["landmarks"] * (spec.size / batch.images.shape[-1])
    batch["image"] = spec.resize(batch.images)
    if batch.masks is not None:
        frames = batch.masks.flatten(0, -4)  # of clips; single crops stay as they are
        resized = F.interpolate(frames, (spec.size, spec.size), mode="nearest-exact")
        batch["mask"] = resized.reshape(*batch.masks.shape[:-2], spec.size, spec.size)
    if "xray" in batch:
        batch["xray"] = spec.resize(batch["xray"])
