"""Image corruptions for robustness evaluation: eight kinds at five severities.

The parameters are those of the perturbations of DeeperForensics-1.0 (CVPR 2020), which most robustness tables of the
field use. Its paper names seven kinds; the numbers are in its code (github.com/EndlessSora/DeeperForensics-1.0,
`perturbation/add_distortion_to_video.py` and `distortions.py`). There whole videos are corrupted, here crops:

- `contrast` and `saturation`: factors; `contrast` darkens, as there.
- `compression`: H.264's constant rate factor; a crop is compressed as a single intra-coded frame. `facemill degrade`
  compresses videos.
- `blur`: side of the Gaussian kernel in pixels, whose sigma is a sixth of it. A crop is smaller than its frame, so that
  the same blur is stronger.
- `noise`: variance of white Gaussian noise in Y, Cb and Cr, in the units of that code, which divides limited-range
  components by 255 twice.
- `blocks`: gray squares of 8 pixels for each 256 pixels of the shorter side. That code rounds down, and so gives none
  to smaller images; here the number is in proportion.
- `resize`: factor of a reduction and enlargement. That code calls it JPEG compression.
- `jpeg`: JPEG quality. The paper states none, and its code has no JPEG compression: the qualities are chosen here.

"Exposing the Deception" (AAAI 2024), Table 6, has `contrast`, `saturation` and `compression`, without their parameters.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facemill import ConfigError
from facemill.seeded import seeded_hash

__all__ = ["LEVELS", "Corruption", "all_corruptions", "corrupt"]

LEVELS: dict[str, tuple[float, ...]] = {
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
    "compression": (30, 32, 35, 38, 40),
    "blur": (7, 9, 13, 17, 21),
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
    "blocks": (16, 32, 48, 64, 80),
    "resize": (2, 3, 4, 5, 6),
    "jpeg": (60, 45, 30, 20, 10),
}
"""Parameters by severity, 1 to 5."""

_LUMA = (0.299, 0.587, 0.114)  # BT.601
_BLOCK, _BLOCK_AREA = 8, 256
_NOISE_SCALE = np.array([255 * 255 / 219, 255 * 255 / 224, 255 * 255 / 224], np.float32)
"""Gray levels of Y, Cr and Cb by standard deviation of the noise."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Corruption:
    """A corruption at one severity.

    Attributes:
        name: a key of `LEVELS`.
        severity: 1 (mild) to 5.
    """

    name: str
    severity: int

    @property
    def level(self) -> float:
        """The parameter of this severity."""
        return LEVELS[self.name][self.severity - 1]


def all_corruptions(names: Iterable[str] = LEVELS) -> Iterator[Corruption]:
    """Yield every corruption of some names at every severity, mild to strong.

    Raises:
        ConfigError: for an unknown name.
    """
    for name in names:
        if name not in LEVELS:
            raise ConfigError(f"There is no corruption {name!r}: choose from {', '.join(LEVELS)}.")
        for severity in range(1, len(LEVELS[name]) + 1):
            yield Corruption(name, severity)


def corrupt(images: Tensor, corruption: Corruption, keys: Sequence[str]) -> Tensor:
    """Corrupt images: float RGB [B, 3, H, W] in 0..1, on any device; returns the same shape, range and device.

    Each image is corrupted independently of the others; all but contrast and saturation are computed on the CPU.

    Args:
        keys: of each image, such as its sample_id: equal keys get equal noise and blocks.
    """
    name, level = corruption.name, corruption.level
    if name == "contrast":
        return images * level
    if name == "saturation":
        return _scale_saturation(images, level)
    pixels = images.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def one(image: Image, key: str) -> Image:
        return _FUNCTIONS[name](image, level, np.random.default_rng(seeded_hash(0, f"{name}/{key}")))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV and FFmpeg release the GIL
        worse = np.stack(list(pool.map(one, pixels, keys)))  # [B, H, W, 3]
    return torch.from_numpy(worse).to(images.device).permute(0, 3, 1, 2).to(images.dtype).div(255)


def _scale_saturation(images: Tensor, factor: float) -> Tensor:
    """Multiply chroma by the factor and keep luma: a blend with the gray image."""
    gray = (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)  # [B, 1, H, W]
    return gray + factor * (images - gray)


def _blur(image: Image, side: float, rng: np.random.Generator) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (int(side), int(side)), side / 6), np.uint8)


def _add_noise(image: Image, variance: float, rng: np.random.Generator) -> Image:
    components = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2YCrCb)
    components += rng.standard_normal(image.shape, np.float32) * _NOISE_SCALE * np.float32(np.sqrt(variance))
    return np.asarray(cv2.cvtColor(components, cv2.COLOR_YCrCb2RGB).round().clip(0, 255), np.uint8)


def _cover(image: Image, blocks: float, rng: np.random.Generator) -> Image:
    covered = image.copy()
    height, width, _ = image.shape
    for _ in range(max(round(blocks * min(height, width) / _BLOCK_AREA), 1)):
        y, x = rng.integers(0, (max(height - _BLOCK, 0) + 1, max(width - _BLOCK, 0) + 1))
        covered[y : y + _BLOCK, x : x + _BLOCK] = 128
    return covered


def _resize(image: Image, factor: float, rng: np.random.Generator) -> Image:
    height, width, _ = image.shape
    small = cv2.resize(image, (max(int(width // factor), 1), max(int(height // factor), 1)))
    return np.asarray(cv2.resize(small, (width, height)), np.uint8)


def _compress_jpeg(image: Image, quality: float, rng: np.random.Generator) -> Image:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)


def _compress_h264(image: Image, crf: float, rng: np.random.Generator) -> Image:
    """Encode one RGB image [H, W, 3] as a video of one frame, and decode it."""
    height, width, _ = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")  # 4:2:0 halves both sides
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "tune": "zerolatency"}
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(even, "rgb24")), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return np.asarray(frames[0].to_ndarray(format="rgb24")[:height, :width], np.uint8)


_FUNCTIONS: dict[str, Callable[[Image, float, np.random.Generator], Image]] = {
    "compression": _compress_h264,
    "blur": _blur,
    "noise": _add_noise,
    "blocks": _cover,
    "resize": _resize,
    "jpeg": _compress_jpeg,
}
