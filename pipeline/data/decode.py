"""From the bytes in a shard to a sample's tensors."""

from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facemill import DatasetError
from facemill.manifests.checks.bounded import picture_size
from facemill.pipeline.data.sample import Sample
from facemill.pipeline.data.split import Split

__all__ = ["decode_sample"]


def decode_sample(split: Split, index: int, sample_id: str, image: bytes, mask: bytes | None) -> Sample:
    """Decode what was read for sample `index` of `split`.

    Args:
        sample_id: as the shard has it.
        image, mask: encoded; a mask of None is not wanted: zeros, and unknown.

    Raises:
        DatasetError: for another sample's bytes, or a picture that cannot be decoded or has another size.
    """
    expected = split.sample_ids[index].as_py()
    if sample_id != expected:
        raise DatasetError(
            f"{split.place(index)} holds {sample_id}, where samples.parquet has {expected}: build the dataset again."
        )
    pixels = _decode(split, index, "picture", image, cv2.IMREAD_COLOR_RGB)  # [S, S, 3]
    return Sample(
        torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
        _mask(split, index, mask),
        int(split.labels[index]),
        mask is not None and bool(split.has_mask[index]),
        index,
    )


def _mask(split: Split, index: int, mask: bytes | None) -> Tensor:
    if mask is None:
        return torch.zeros((1, split.size, split.size), dtype=torch.uint8)
    return torch.from_numpy(_decode(split, index, "mask", mask, cv2.IMREAD_GRAYSCALE))[None]


def _decode(split: Split, index: int, what: str, data: bytes, mode: int) -> NDArray[np.uint8]:
    width, height = picture_size(data) or (0, 0)
    if width and (width, height) != (split.size, split.size):  # seen before its pixels take any memory
        raise DatasetError(
            f"{split.place(index)} has a {what} of {width} x {height} pixels, where samples.parquet says "
            f"{split.size} x {split.size}: build the dataset again."
        )
    # OpenCV and not torchvision, whose PNG decoder crashes the process on some damaged files.
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if width else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DatasetError(
            f"{split.place(index)} has a {what} that is missing or cannot be decoded: see `facemill verify`."
        )
    return cast(NDArray[np.uint8], pixels)
