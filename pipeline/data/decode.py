"""Decoding of a shard's bytes to a sample's tensors."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facemill import DatasetError
from facemill.manifests.annotations import image_names
from facemill.manifests.checks.bounded import image_size
from facemill.pipeline.data.sample import Sample
from facemill.pipeline.data.split import Split

__all__ = ["decode_sample", "names_to_read"]


def names_to_read(split: Split, annotations: Sequence[str], *, masks: bool) -> list[str]:
    """Names of the images to read from a shard: `image`, `mask`, and annotations that are images."""
    wanted = {name: split.annotations[name] for name in annotations}
    return ["image", *(["mask"] if masks else []), *image_names(wanted)]


def decode_sample(
    split: Split, index: int, sample_id: str, encoded: Mapping[str, bytes], annotations: Sequence[str] = ()
) -> Sample:
    """Decode the bytes read for sample `index` of `split`.

    Args:
        sample_id: as stored in the shard.
        encoded: encoded images by name (see `names_to_read`); without a mask, the mask is zeros and unknown.
        annotations: names of those to decode.

    Raises:
        DatasetError: if the bytes are another sample's, the image is not the one that samples.parquet states by its
            hash, or an image cannot be decoded or has another size.
    """
    expected = split.sample_ids[index].as_py()
    if sample_id != expected:
        raise DatasetError(
            f"{split.place(index)} holds {sample_id}, but samples.parquet has {expected}: build the dataset again."
        )
    image = _channels_first(_decode(split, index, "image", encoded["image"], cv2.IMREAD_COLOR_RGB))
    if sha256(encoded["image"]).hexdigest() != split.samples["image_sha256"][index].as_py():
        raise DatasetError(
            f"{split.place(index)} holds another image than samples.parquet states: see `facemill verify`, or build "
            "the dataset again."
        )
    mask = encoded.get("mask")
    return Sample(
        image,
        _mask(split, index, mask),
        int(split.labels[index]),
        mask is not None and bool(split.has_mask[index]),
        index,
        {name: _annotation(split, index, name, encoded) for name in annotations},
    )


def _annotation(split: Split, index: int, name: str, encoded: Mapping[str, bytes]) -> Tensor:
    if name in encoded:
        stored = encoded[name]
        mode = cv2.IMREAD_COLOR_RGB if _has_colour(stored) else cv2.IMREAD_GRAYSCALE
        return _channels_first(_decode(split, index, name, stored, mode, whole=False))
    value = split.samples[name][index].as_py()
    return torch.tensor(torch.nan if value is None else value, dtype=torch.float32)


def _has_colour(png: bytes) -> bool:
    """Whether a PNG has more than one channel: byte 25 is its colour type, 0 for gray."""
    return png[25:26] != b"\0"


def _channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    """Convert [h, w] or [h, w, 3] to [C, h, w]."""
    tensor = torch.from_numpy(pixels)
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()


def _mask(split: Split, index: int, mask: bytes | None) -> Tensor:
    if mask is None:
        return torch.zeros((1, split.size, split.size), dtype=torch.uint8)
    return torch.from_numpy(_decode(split, index, "mask", mask, cv2.IMREAD_GRAYSCALE))[None]


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
