"""Other libraries' loaders on the crops of a built dataset: shuffled uint8 batches of image, mask and label.

All decode as `FaceDataset` does, unless a name says otherwise. LitData and SPDL are compared if they are installed:
`pip install litdata spdl`.
"""

import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader

from facemill.pipeline.data import FaceDataset

__all__ = ["BATCH", "Way", "missing", "other_loaders"]

BATCH = 32
CHUNK = "64MB"
NEEDED = {"LitData": "litdata", "SPDL": "spdl"}

Loader = Iterable[Any]
Way = Callable[[int], Loader]


def missing() -> list[str]:
    """Libraries that are not installed, by their names on PyPI."""
    return [package for package in NEEDED.values() if importlib.util.find_spec(package) is None]


def other_loaders(tar: Path, scratch: Path) -> dict[str, Way]:
    """Functions of the number of readers, by library.

    Args:
        tar: a dataset in WebDataset shards, which webdataset reads; the others read copies of the same bytes.
    """
    ways: dict[str, Way] = {
        "webdataset, PIL": lambda readers: _webdataset(tar, readers, "torchrgb8"),
        "webdataset": lambda readers: _webdataset(tar, readers, _decode_member),
    }
    if "litdata" not in missing():
        chunks = _chunks(tar, scratch / "litdata")
        ways["LitData"] = lambda readers: _litdata(chunks, readers)
    if "spdl" not in missing():
        files = _files(tar, scratch / "files")
        ways["SPDL"] = lambda readers: _spdl(files, readers)
    return ways


def _webdataset(root: Path, workers: int, decoder: Any) -> Loader:
    shards = sorted(map(str, root.glob("train/*.tar")))
    samples = wds.WebDataset(shards, shardshuffle=100, empty_check=False).shuffle(1000)
    decoded = samples.decode(decoder).to_tuple("png", "mask.png", "json")
    triples = decoded.map(lambda sample: (*sample[:2], sample[2]["label"]))
    return DataLoader(triples, batch_size=BATCH, num_workers=workers)


def _litdata(chunks: Path, workers: int) -> Loader:
    import litdata

    class Crops(litdata.StreamingDataset):  # type: ignore[misc,name-defined,unused-ignore]
        def __getitem__(self, index: Any) -> Any:
            sample = super().__getitem__(index)
            return _image(sample["image"]), _mask(sample["mask"]), sample["label"]

    loader: Loader = litdata.StreamingDataLoader(
        Crops(str(chunks), shuffle=True), batch_size=BATCH, num_workers=workers
    )
    return loader


def _spdl(files: list[tuple[Path, Path, int]], threads: int) -> Loader:
    from spdl.dataloader import DataLoader as ThreadLoader

    def load(files: tuple[Path, Path, int]) -> tuple[Tensor, Tensor, int]:
        image, mask, label = files
        return _image(image.read_bytes()), _mask(mask.read_bytes()), label

    def stack(samples: list[tuple[Tensor, Tensor, int]]) -> list[Tensor]:
        images, masks, labels = zip(*samples, strict=True)
        return [torch.stack(images), torch.stack(masks), torch.tensor(labels)]

    order = np.random.default_rng(0).permutation(len(files)).tolist()
    shuffled = [files[number] for number in order]
    loader: Loader = ThreadLoader(shuffled, preprocessor=load, aggregator=stack, batch_size=BATCH, num_threads=threads)
    return loader


def _decode_member(key: str, data: bytes) -> Any:
    if key.endswith("json"):
        return json.loads(data)
    return _mask(data) if key.endswith("mask.png") else _image(data)


def _mask(data: bytes) -> Tensor:
    return torch.from_numpy(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))[None]


def _image(data: bytes) -> Tensor:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, list(planes))
    return torch.from_numpy(planes)


# Copies of the bytes ----------------------------------------------------------------------------------


def _encoded(root: Path) -> list[dict[str, Any]]:
    faces = FaceDataset(root, "train")
    labels = faces.labels.tolist()
    return [{**faces._reader.read(index), "label": label} for index, label in enumerate(labels)]


def _chunks(root: Path, out: Path) -> Path:
    import litdata

    if not (out / "index.json").is_file():
        options: dict[str, Any] = {"chunk_bytes": CHUNK, "num_workers": 1, "start_method": "fork", "verbose": False}
        litdata.optimize(_as_it_is, _encoded(root), str(out), **options)
    return out


def _as_it_is(sample: dict[str, Any]) -> dict[str, Any]:
    return sample


def _files(root: Path, out: Path) -> list[tuple[Path, Path, int]]:
    """Image and mask of each sample as two files, and its label."""
    files = []
    out.mkdir(exist_ok=True)
    for number, sample in enumerate(_encoded(root)):
        image, mask = out / f"{number}.png", out / f"{number}.mask.png"
        image.write_bytes(sample["image"])
        mask.write_bytes(sample["mask"])
        files.append((image, mask, sample["label"]))
    return files
