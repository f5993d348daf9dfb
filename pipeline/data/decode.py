"""Decoding of a shard's bytes to a sample's tensors."""

from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facemill import DatasetError
from facemill.manifests.checks.bounded import image_size
from facemill.manifests.shards import EncodedImages
from facemill.pipeline.data.split import Split

__all__ = ["decode_images"]


def decode_images(split: Split, index: int, encoded: EncodedImages, into: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Decode the images read for sample `index` of `split`.

    Args:
        into: contiguous tensors to decode into, by name: `image` [3, S, S], and `mask` [1, S, S].

    Returns:
        the images of annotations.

    Raises:
        DatasetError: if an image cannot be decoded or has another size.
    """
    annotations: dict[str, Tensor] = {}
    for name, data in encoded.items():
        if name == "mask" and data and split.all_zero[index]:
            into[name].numpy().fill(0)  # decoding it would give the same; by NumPy, which starts no threads
            continue
        gray = name == "mask" or (name != "image" and data[25:26] == b"\0")  # the colour type of a gray PNG
        mode = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB
        pixels = _decode(split, index, name, data, mode, whole=name in into)
        planes = into[name] if name in into else torch.empty((1 if gray else 3, *pixels.shape[:2]), dtype=torch.uint8)
        cv2.split(pixels, list(planes.numpy()))  # three times as fast as PyTorch's copy
        if name not in into:
            annotations[name] = planes
    return annotations


def _decode(split: Split, index: int, what: str, data: bytes, mode: int, *, whole: bool = True) -> NDArray[np.uint8]:
    """Decode an image of the crop's size; if not `whole`, its sides may be shorter."""
    width, height = image_size(data) or (0, 0)
    fits = (width, height) == (split.size, split.size) if whole else max(width, height) <= split.size
    if width and not fits:  # checked before pixels are allocated
        raise DatasetError(
            f"{split.place(index)} has {width} x {height} pixels in its {what}, but samples.parquet says "
            f"{split.size} x {split.size}: build the dataset again."
        )
    # Not torchvision, whose PNG decoder crashes the process on some damaged files.
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION) if width else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DatasetError(f"{split.place(index)} has no {what} that can be decoded: see `facemill verify`.")
    return cast(NDArray[np.uint8], pixels)
