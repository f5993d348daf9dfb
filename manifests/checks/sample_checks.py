"""Checks of one sample's stored bytes: its image, mask and annotations.

Each check yields messages about faults, and none for an intact sample; it accepts arbitrary bytes.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.annotations import Annotations, image_names
from facemill.manifests.checks.bounded import LARGEST_SIDE, image_fault, image_size
from facemill.manifests.checks.seen import SEEN, see
from facemill.manifests.codes import MaskKind
from facemill.manifests.records import SampleRecord
from facemill.manifests.shards.base import IMAGE_SUFFIXES, EncodedSample, image_suffix

__all__ = ["ImageCheck"]

COVERAGE = 1e-6
"""Tolerance for a share of pixels that is stored as float32."""

Fault = tuple[str, str]
"""Name of a check, and its message."""


@dataclass(slots=True)
class ImageCheck:
    """Decodes and checks the images of one shard, each once.

    Attributes:
        size: side of every crop, pixels.
        encoding: the recipe's encoding: `png`, `jpeg` or `webp`.
        annotations: the annotations of each sample; None to skip their check.
        seen: what is kept of the pixels of the samples so far, `SEEN` each.
    """

    size: int
    encoding: str
    annotations: Annotations | None = None
    seen: list[NDArray[np.void]] = field(default_factory=list)

    def faults(self, sample: EncodedSample) -> Iterator[Fault]:
        """All faults of a sample's image, mask and annotations."""
        image, mask = self._decoded(sample.image), self._decoded(sample.mask)
        self.seen.append(see(image, mask, sample.image))
        yield from self._check_image(sample, image)
        yield from self._check_mask(sample.record, sample.mask, mask)
        if self.annotations is not None:
            yield from self._check_annotations(sample, self.annotations)

    def stacked(self, count: int) -> NDArray[np.void]:
        """`SEEN` [count]; zeros for samples not reached."""
        found = np.zeros(count, SEEN)
        for number, seen in enumerate(self.seen[:count]):
            found[number] = seen
        return found

    def _check_image(self, sample: EncodedSample, image: NDArray[np.generic] | None) -> Iterator[Fault]:
        if hashlib.sha256(sample.image).hexdigest() != sample.record.image_sha256:
            yield "image_sha256", "the image's sha256 differs from the recorded one"
        if image is None:
            yield "image_decodes", f"the image {self._why_not(sample.image)}"
        elif image.shape != (self.size, self.size, 3) or image.dtype != np.uint8:
            yield "image_shape", f"the image is {_shape(image)}, not {self._expected('3 channels')}"
        suffix = _suffix(sample.image)
        if image is not None and suffix != IMAGE_SUFFIXES[self.encoding]:
            yield "image_format", f"the image is a {suffix[1:]}, but the recipe's format is {self.encoding}"
        elif image is not None and image.shape[2:] == (3,) and (fault := image_fault(sample.image, "RGB")):
            yield "image_plain", f"the image {fault}"

    def _check_mask(self, record: SampleRecord, encoded: bytes, mask: NDArray[np.generic] | None) -> Iterator[Fault]:
        if mask is None:
            yield "mask_decodes", f"the mask {self._why_not(encoded)}"
            return
        if _suffix(encoded) != ".png":
            yield "mask_format", f"the mask is a {_suffix(encoded)[1:]}, not a png"
        if mask.shape != (self.size, self.size) or mask.dtype != np.uint8:
            yield "mask_shape", f"the mask is {_shape(mask)}, not {self._expected('1 channel')}"
            return
        if fault := image_fault(encoded, "L"):
            yield "mask_plain", f"the mask {fault}"
        forged = mask == 255
        if not np.all(forged | (mask == 0)):
            yield "mask_values", "the mask has values other than 0 and 255"
        if record.mask_kind in (MaskKind.ZEROS, MaskKind.NONE) and mask.any():
            yield "mask_zero", f"the mask is not all zero, as it must be where mask_kind is {record.mask_kind}"
        coverage, recorded = float(forged.mean()), record.mask_coverage
        if recorded is not None and not abs(recorded - coverage) <= COVERAGE:
            yield "mask_area", f"mask_coverage is {recorded:.6g}, but the mask covers {coverage:.6g}"

    def _check_annotations(self, sample: EncodedSample, annotations: Annotations) -> Iterator[Fault]:
        there = sample.images.keys() | sample.record.annotations.keys()
        if unknown := sorted(there - annotations.keys()):
            yield "annotation_unknown", f"dataset.json does not list its annotations {', '.join(unknown)}"
        for name in image_names(annotations):
            if name not in sample.images:
                yield "annotation_missing", f"it has no {name}"
                continue
            image = self._decoded(sample.images[name])
            if image is None or _suffix(sample.images[name]) != ".png":
                yield "annotation_decodes", f"its {name} {self._why_not(sample.images[name])} as PNG"
            elif image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or max(image.shape[:2]) > self.size:
                yield (
                    "annotation_shape",
                    f"its {name} is {_shape(image)}, not {self._expected('1 or 3 channels')} at most",
                )
        for name, value in sample.record.annotations.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                yield "annotation_finite", f"its {name} is not finite"

    def _decoded(self, encoded: bytes) -> NDArray[np.generic] | None:
        """The pixels [H, W] or [H, W, channels] of an encoded image; None if it is invalid or far too large."""
        shape = image_size(encoded)
        if shape is None or max(shape) > self._largest():
            return None
        try:
            pixels: NDArray[np.generic] | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:  # raised for some damaged headers
            return None
        return pixels

    def _largest(self) -> int:
        """Largest side that is decoded: larger images would need much memory, and the header shows their size."""
        return min(max(2 * self.size, 1024), LARGEST_SIDE)

    def _why_not(self, encoded: bytes) -> str:
        shape = image_size(encoded)
        if shape is not None and max(shape) > self._largest():
            return f"is {shape[0]} x {shape[1]}, not {self.size} x {self.size}"
        return "cannot be decoded"

    def _expected(self, channels: str) -> str:
        return f"{self.size} x {self.size} with {channels} of uint8"


def _suffix(encoded: bytes) -> str:
    try:
        return image_suffix(encoded)
    except DatasetError:
        return ".?"


def _shape(pixels: NDArray[np.generic]) -> str:
    height, width, *channels = pixels.shape
    return f"{width} x {height} with {channels[0] if channels else 1} channels of {pixels.dtype}"
