"""Random augmentation of training crops, batched, on the crops' device."""

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
import torch
from kornia.color import hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv
from kornia.enhance import jpeg_codec_differentiable
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from numpy.typing import NDArray
from torch import Tensor, nn

from facemill.detectors.forgery import ForgeryBatch
from facemill.options import create_all
from facemill.pipeline.config.train_settings import AugmentSettings
from facemill.registry import TRANSFORMS
from facemill.seeded import seeded_generator

__all__ = ["Augmentation"]

Numbers = NDArray[np.float64]
Change = Callable[[Tensor, Tensor], Tensor]
"""Maps chosen images [n, 3, H, W] and random parameters [n, ...] to changed images."""
OWN = 100  # purpose of the first generator of users' transforms: see `Augmentation.generator`
MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]
"""Landmarks of a mirrored face in the usual order: those of its eyes and corners of the mouth change places."""


class Augmentation(nn.Module):
    """JPEG compression, noise, blur, flip, colour and affine changes, with random choice and amount per sample.

    The frames of a clip are changed alike; only noise is each frame's own, as a camera's is.

    Random numbers depend on seed, epoch, step and rank alone, so that there is no state to save.

    Args:
        settings: probability and strength of each change; `mixup` is applied by `prepare`.
    """

    def __init__(self, settings: AugmentSettings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.seed = seed
        self._more = create_all(TRANSFORMS, settings.more).values()

    def generator(self, epoch: int, step: int, *purpose: int) -> np.random.Generator:
        """Return the seeded generator of a step on this rank."""
        parallel = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if parallel else 0
        return seeded_generator(self.seed, epoch, step, rank, *purpose)

    @torch.no_grad()
    def forward(self, batch: ForgeryBatch, *, epoch: int = 0, step: int = 0) -> None:
        """Replace a batch's images, and its masks and landmarks if it has them; their tensors are not modified.

        Args:
            batch: images float [B, 3, H, W], RGB in 0..1; masks float [B, 1, H, W], transformed like the images, with
                nearest-pixel sampling; landmarks [B, 5, 2], pixels of the images. Of clips, all have a second dimension
                T.
        """
        rng = self.generator(epoch, step)
        clip = batch.images.shape[1:-3]  # [T], or none of single crops
        moved = batch.keys() & {"image", "mask", "xray", "landmarks"}
        for name in moved:
            batch[name] = batch[name].flatten(0, len(clip))
        # Coordinates and colours need more precision than bf16.
        with torch.autocast(batch.images.device.type, enabled=False):
            batch["image"] = self._degrade(batch.images, batch.size, rng)
            self._mirror(batch, rng)
            batch["image"] = self._recolour(batch.images, batch.size, rng)
            self._move(batch, rng)
            for name in moved:
                batch[name] = batch[name].reshape(-1, *clip, *batch[name].shape[1:])
            for number, transform in enumerate(self._more, OWN):
                transform(batch, self.generator(epoch, step, number))

    def _degrade(self, images: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        s = self.settings
        low, high = s.jpeg_quality
        images = _change(images, rng.random(count) < s.jpeg, rng.integers(low, high, count, endpoint=True), _jpeg)
        # Generated on the images' device: on the CPU, millions of normals per batch would take longer than the rest.
        noise = torch.Generator(images.device).manual_seed(int(rng.integers(2**63)))
        images = _change(
            images,
            rng.random(count) < s.noise,
            rng.uniform(*s.noise_std, count),
            lambda x, std: x + torch.randn(x.shape, generator=noise, device=x.device) * std[:, None, None, None],
        )
        side = 2 * int(np.ceil(3 * s.blur_sigma[1])) + 1
        blurred, sigma = rng.random(count) < s.blur, rng.uniform(*s.blur_sigma, count)
        # On the CPU, since kornia reads them to check that they are positive.
        sigmas = torch.from_numpy(np.repeat(sigma[blurred], len(images) // count)).to(images.dtype)
        sigmas = sigmas[:, None].expand(-1, 2)
        return _change(images.clamp(0, 1), blurred, sigma, lambda x, _: gaussian_blur2d(x, side, sigmas))

    def _mirror(self, batch: ForgeryBatch, rng: np.random.Generator) -> None:
        chosen = rng.random(batch.size) < self.settings.flip
        mirrored = torch.from_numpy(np.repeat(chosen, len(batch.images) // batch.size))
        mirrored = mirrored.to(batch.images.device, non_blocking=True)
        for name in batch.keys() & {"image", "mask", "xray"}:
            batch[name] = torch.where(mirrored[:, None, None, None], batch[name].flip(-1), batch[name])
        if (points := batch.get("landmarks")) is not None:
            # An index list would be copied to the GPU, which waits for it.
            x, y = torch.stack([points[:, n] for n in MIRRORED_LANDMARKS], 1).unbind(-1)
            flipped = torch.stack([batch.images.shape[-1] - x, y], -1)
            batch["landmarks"] = torch.where(mirrored[:, None, None], flipped, points)

    def _recolour(self, images: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        s = self.settings
        changed = rng.random(count) < s.colour
        kind = (rng.random(count) * (3 if s.pca else 2)).astype(int)
        light = _about_zero(rng, count, s.brightness, s.contrast)
        images = _change(images, changed & (kind == 0), light, _brightness_contrast)
        tint = _about_zero(rng, count, np.radians(s.hue), s.saturation, s.value)
        images = _change(images, changed & (kind == 1), tint, _hue_saturation_value)
        if s.pca:
            images = _change(images, changed & (kind == 2), rng.normal(0, s.pca, (count, 3)), _principal_components)
        gray = rng.random(count) < s.gray
        return _change(images, gray, gray, lambda x, _: rgb_to_grayscale(x).expand_as(x))

    def _move(self, batch: ForgeryBatch, rng: np.random.Generator) -> None:
        s, count, (height, width) = self.settings, batch.size, batch.images.shape[-2:]
        chosen = rng.random(count) < s.affine
        # Columns: shift in x and y, scale, degrees.
        numbers = _about_zero(rng, count, s.shift * width, s.shift * height, s.scale, s.rotate)
        centre = torch.tensor([[(width - 1) / 2, (height - 1) / 2]])

        def matrix(shift_scale_turn: Tensor) -> Tensor:
            shift, scale, turn = shift_scale_turn[:, :2], 1 + shift_scale_turn[:, 2:3], shift_scale_turn[:, 3]
            middle = centre.to(shift, non_blocking=True).expand_as(shift)
            moves: Tensor = get_affine_matrix2d(shift, middle, scale.expand_as(shift), turn)
            return moves[:, :2]

        def warp(x: Tensor, numbers: Tensor, mode: str) -> Tensor:
            moved: Tensor = warp_affine(
                x, matrix(numbers), (height, width), mode, padding_mode="zeros", align_corners=True
            )
            return moved

        def shift(points: Tensor, numbers: Tensor) -> Tensor:
            moves = matrix(numbers)  # of points that are counted from the first pixel's centre
            return (points - 0.5) @ moves[:, :, :2].mT + moves[:, None, :, 2] + 0.5

        changes: dict[str, Change] = {
            "image": lambda x, n: warp(x, n, "bilinear"),
            "mask": lambda x, n: warp(x, n, "nearest"),
            "xray": lambda x, n: warp(x, n, "bilinear"),
            "landmarks": shift,
        }
        for name in batch.keys() & changes.keys():
            batch[name] = _change(batch[name], chosen, numbers, changes[name])


def _about_zero(rng: np.random.Generator, count: int, *largest: float) -> Numbers:
    """Uniform random numbers between minus and plus `largest`, [count, len(largest)]."""
    return rng.uniform(-1, 1, (count, len(largest))) * largest


def _change(images: Tensor, chosen: NDArray[np.bool_], numbers: NDArray[np.generic], change: Change) -> Tensor:
    """Apply `change` to the chosen samples of a batch, with their rows of `numbers`; `images` are of all frames."""
    if not chosen.any():
        return images
    chosen, numbers = (np.repeat(values, len(images) // len(chosen), axis=0) for values in (chosen, numbers))
    where = torch.from_numpy(np.flatnonzero(chosen)).to(images.device, non_blocking=True)
    drawn = torch.from_numpy(numbers[chosen]).to(images.device, images.dtype, non_blocking=True)
    return images.index_copy(0, where, change(images[where], drawn))


def _brightness_contrast(images: Tensor, amounts: Tensor) -> Tensor:
    brightness, contrast = amounts[:, :, None, None, None].unbind(1)
    return (images * (1 + contrast) + brightness).clamp(0, 1)


def _hue_saturation_value(images: Tensor, amounts: Tensor) -> Tensor:
    hue, *rest = (rgb_to_hsv(images) + amounts[:, :, None, None]).unbind(1)  # hue in radians
    saturation, value = (channel.clamp(0, 1) for channel in rest)
    changed: Tensor = hsv_to_rgb(torch.stack([hue % (2 * torch.pi), saturation, value], 1))
    return changed.clamp(0, 1)


def _principal_components(images: Tensor, amounts: Tensor) -> Tensor:
    """Add to all pixels `sum_k a_k lambda_k p_k` of the image's covariance of colours (Krizhevsky et al., 2012).

    With independent normal a_k this is the covariance times a normal vector, which needs no eigenvectors.
    """
    pixels = images.flatten(2)
    centred = pixels - pixels.mean(2, keepdim=True)
    covariance = centred @ centred.mT / (pixels.shape[2] - 1)  # [n, 3, 3]
    return (images + (covariance @ amounts[..., None])[..., None]).clamp(0, 1)


def _jpeg(images: Tensor, quality: Tensor) -> Tensor:
    if images.device.type != "cpu":
        # A differentiable model of the codec: within about one gray level of it, without a copy to the CPU.
        modelled: Tensor = jpeg_codec_differentiable(images, quality)
        return modelled.clamp(0, 1)
    # The codec itself: exact, and on a CPU ten times faster.
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    recoded = np.stack([_recode(image, int(q)) for image, q in zip(pixels, quality, strict=True)])
    return torch.from_numpy(recoded).permute(0, 3, 1, 2).to(images.dtype).contiguous() / 255


def _recode(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress and decode an RGB image [H, W, 3] as JPEG with 4:2:0 chroma subsampling, as in most JPEG files."""
    chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, *chroma]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return cast(NDArray[np.uint8], cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
