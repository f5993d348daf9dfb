"""Image corruptions for robustness evaluation: contrast, saturation and compression, at five severities.

"Exposing the Deception" (AAAI 2024), Table 6, names these three and five severities of each, without
their parameters. The levels here are those of the DeeperForensics-1.0 perturbations (CVPR 2020), which most
robustness tables of the field use: factors of contrast and saturation, and H.264's constant rate factor.
There a whole video is compressed; here a crop is compressed as a single intra-coded frame.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LEVELS", "Corruption", "all_corruptions", "corrupt"]

LEVELS: dict[str, tuple[float, ...]] = {
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
    "compression": (30, 32, 35, 38, 40),
}
"""Parameters by severity, 1 to 5: factors of contrast and saturation, H.264's CRF of compression."""

_LUMA = (0.299, 0.587, 0.114)  # BT.601


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


def all_corruptions() -> Iterator[Corruption]:
    """Yield every corruption at every severity, mild to strong."""
    for name, levels in LEVELS.items():
        for severity in range(1, len(levels) + 1):
            yield Corruption(name, severity)


def corrupt(images: Tensor, corruption: Corruption) -> Tensor:
    """Corrupt images: float RGB [B, 3, H, W] in 0..1, on any device; returns the same shape, range and device.

    Deterministic, and independent for each image. Compression runs on the CPU.
    """
    return _FUNCTIONS[corruption.name](images, corruption.level)


def _scale_contrast(images: Tensor, factor: float) -> Tensor:
    """Multiply all values by the factor (which darkens images), as DeeperForensics does."""
    return images * factor


def _scale_saturation(images: Tensor, factor: float) -> Tensor:
    """Multiply chroma by the factor and keep luma: a blend with the gray image."""
    gray = (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)  # [B, 1, H, W]
    return gray + factor * (images - gray)


def _compress(images: Tensor, crf: float) -> Tensor:
    pixels = images.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # FFmpeg releases the GIL
        decoded = np.stack(list(pool.map(partial(_h264_round_trip, crf=crf), pixels)))  # [B, H, W, 3]
    return torch.from_numpy(decoded).to(images.device).permute(0, 3, 1, 2).to(images.dtype).div(255)


def _h264_round_trip(image: NDArray[np.uint8], crf: float) -> NDArray[np.uint8]:
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


_FUNCTIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "contrast": _scale_contrast,
    "saturation": _scale_saturation,
    "compression": _compress,
}
