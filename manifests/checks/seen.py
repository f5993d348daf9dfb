"""What is kept of each sample's pixels during a verification: thumbnails, and a hash of the decoded image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from facemill.manifests.checks.columns import places

__all__ = ["SEEN", "THUMBNAIL", "Seen", "see"]

THUMBNAIL = 8
"""Side of the thumbnails, pixels."""
SEEN = np.dtype([
    ("image", np.uint8, (THUMBNAIL, THUMBNAIL, 3)), ("mask", np.uint8, (THUMBNAIL, THUMBNAIL)), ("pixels", np.uint64)
])  # fmt: skip
"""A sample's thumbnails, black for an image or mask that is undecodable, and the hash of the image's pixels."""


def see(image: NDArray[np.generic] | None, mask: NDArray[np.generic] | None, encoded: bytes) -> NDArray[np.void]:
    """The `SEEN` value of a decoded image [H, W, 3] and mask [H, W]; an undecodable image has the hash of its bytes."""
    found = np.zeros((), SEEN)
    for name, pixels in (("image", image), ("mask", mask)):
        if pixels is not None and pixels.dtype == np.uint8 and pixels.shape[2:] == SEEN[name].shape[2:]:
            found[name] = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    found["pixels"] = xxhash.xxh3_64_intdigest(encoded if image is None else image.tobytes())
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the samples of a table, row by row.

    Attributes:
        values: `SEEN` [N]; zeros for samples that could not be read.
        there: which samples could be read, [N].
    """

    values: NDArray[np.void]
    there: NDArray[np.bool_]

    @classmethod
    def of(cls, shards: Sequence[tuple[pa.Table, NDArray[np.void]]], samples: pa.Table) -> "Seen":
        """Arrange what was seen in the shards in the order of a table's rows."""
        ids = pa.chunked_array([found["sample_id"].combine_chunks() for found, _ in shards], pa.string())
        at = places(samples["sample_id"], ids)
        return cls(np.concatenate([*(seen for _, seen in shards), np.zeros(1, SEEN)])[at], at >= 0)

    @property
    def pixels(self) -> "pa.Array":  # type: ignore[type-arg]
        """Hashes of the images' pixels [N], each one its own for samples that could not be read."""
        return pa.array(np.where(self.there, self.values["pixels"], np.arange(len(self.there), dtype=np.uint64)))

    def alike(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """Correlation of the images at two lists of positions; 1 if one of them is missing or black."""
        images = self.values["image"].reshape(len(self.values), -1)
        found = np.ones(len(left))
        for start in range(0, len(left), 1 << 16):
            part = slice(start, start + (1 << 16))
            a, b = (images[positions[part]].astype(np.float32) for positions in (left, right))
            shown = a.any(axis=1) & b.any(axis=1)
            a, b = (pixels - pixels.mean(axis=1, keepdims=True) for pixels in (a, b))
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            found[part] = np.where(shown, (a * b).sum(axis=1) / np.maximum(norms, 1e-6), 1.0)
        return found
