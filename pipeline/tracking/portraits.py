"""Aligned faces of a person, which are embedded and compared where position and surroundings leave a doubt."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from facemill.detectors.face import Face
from facemill.pipeline.config.sections import CropSettings
from facemill.pipeline.extract.crop import align_affine, crop_image

__all__ = ["Album", "Portrait", "distances"]

MOST = 6
"""Maximum number of portraits in an album."""
CHIP = 150
"""Side of the aligned face, in pixels."""
ALIGNMENT, OFFSET = CropSettings(size=165, scale=1.0), (7.5, 30.5)
"""A larger aligned crop, and the position of the chip in it: the alignment that the network expects."""


class Portrait:
    """An aligned face. It is embedded when it is first compared, and then only the embedding is kept.

    Args:
        pixels: RGB [150, 150, 3], or an embedding [128].
    """

    def __init__(self, pixels: NDArray[np.uint8] | NDArray[np.float32]) -> None:
        self._pixels = pixels

    @classmethod
    def of(cls, image: NDArray[np.uint8], face: Face) -> "Portrait":
        """The portrait of a face in an RGB image [H, W, 3]."""
        affine = align_affine(face.landmarks, ALIGNMENT)
        affine[:, 2] -= OFFSET
        return cls(crop_image(image, affine, CHIP, repeat_edge=True))

    @property
    def embedding(self) -> NDArray[np.float32]:
        if self._pixels.ndim == 3:
            from facemill.pipeline.tracking.embedding import embed  # torch takes seconds; most clips do not need it

            [self._pixels] = embed(self._pixels.astype(np.uint8)[None])
        return self._pixels.astype(np.float32, copy=False)


def distances(a: Iterable[Portrait], b: Iterable[Portrait]) -> NDArray[np.float64]:
    """Euclidean distances of embeddings [N, M]."""
    first, second = (np.stack([portrait.embedding for portrait in portraits]) for portraits in (a, b))
    return np.asarray(cdist(first, second))


class Album:
    """Portraits of one person, at most `MOST`, spread evenly over the sightings.

    Attributes:
        portraits: taken where nobody else was near.
        fallback: one with somebody near, who may hide part of the face; None where there is none.
    """

    def __init__(self, portraits: Sequence[Portrait] = ()) -> None:
        self.portraits = list(portraits)
        self.fallback: Portrait | None = None
        self._seen, self._every = len(self.portraits), 1

    @property
    def best(self) -> list[Portrait]:
        """The portraits, or the fallback."""
        return self.portraits or ([self.fallback] if self.fallback else [])

    def wants(self) -> bool:
        """Count a sighting; whether its portrait is to be added."""
        self._seen += 1
        return (self._seen - 1) % self._every == 0

    def add(self, portrait: Portrait) -> None:
        self.portraits.append(portrait)
        if len(self.portraits) > MOST:
            del self.portraits[1::2]
            self._every *= 2

    def merge(self, other: "Album") -> None:
        """Take over the portraits of another album of the same person."""
        self.fallback = self.fallback or other.fallback
        for portrait in other.portraits:
            self.add(portrait)
