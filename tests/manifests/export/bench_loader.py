"""How DeepfakeBench's training finds and loads what it trains on, written anew from a description of its dataset class.

It opens `<dataset_json_folder>/<name>.json`, goes down name, label, split, and for some names the compression level,
maps the label of each video to a number, and takes the paths of frames as they are, relative to the folder that it
was started in. Masks and landmarks have no entry of their own that it would read: their paths are made of a frame's.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import lmdb
import numpy as np

WITH_LEVELS = {"FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FaceForensics++", "DeepFakeDetection", "FaceShifter"}
LABEL_DICT = {
    **{"FF-real": 0, "FF-DF": 1, "FF-F2F": 1, "FF-FS": 1, "FF-NT": 1, "FF-FH": 1, "FF-SH": 1},
    **{"DFD_real": 0, "DFD_fake": 1},
    **{"CelebDFv1_real": 0, "CelebDFv1_fake": 1, "CelebDFv2_real": 0, "CelebDFv2_fake": 1},
    **{"DFDC_Real": 0, "DFDC_Fake": 1, "DFDCP_Real": 0, "DFDCP_FakeA": 1, "DFDCP_FakeB": 1},
}


@dataclass(frozen=True)
class BenchSample:
    """One item of its training set."""

    path: str
    label: int
    video: str
    image: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray


def load(
    name: str, mode: str, *, json_folder: str, compression: str = "c23", labels: dict[str, int] | None = None
) -> list[BenchSample]:
    """Everything that training (`mode` train) or testing on the dataset of this name would see, unresized."""
    return [_load(path, label, video) for path, label, video in _walk(name, mode, json_folder, compression, labels)]


def load_lrl(
    name: str, mode: str, *, json_folder: str, lmdb_folder: str, compression: str = "c23"
) -> list[tuple[str, int, np.ndarray, np.ndarray]]:
    """Video, label, image and mask [1, H, W] in 0..1 of all that its LRL sees: it takes the mean of three channels.

    Pictures come from an LMDB environment named after the dataset, by a frame's path and what `masks` makes of it.
    """
    folder = f"{'FaceForensics++' if name in WITH_LEVELS else name}_lmdb"
    found = []
    environment = lmdb.open(os.path.join(lmdb_folder, folder), create=False, readonly=True, lock=False)  # noqa: PTH118
    with environment, environment.begin() as transaction:
        for path, label, video in _walk(name, mode, json_folder, compression, None):
            image, mask = (
                cv2.imdecode(np.frombuffer(transaction.get(key.encode()), np.uint8), cv2.IMREAD_COLOR)
                for key in (path, path.replace("frames", "masks"))
            )
            mask = np.expand_dims(mask / 255, axis=2)
            found.append((video, label, image, mask.squeeze(2).transpose(2, 0, 1).mean(axis=0, keepdims=True)))
    return found


def _walk(
    name: str, mode: str, json_folder: str, compression: str, labels: dict[str, int] | None
) -> Iterator[tuple[str, int, str]]:
    with open(os.path.join(json_folder, name + ".json")) as file:  # noqa: PTH123, PTH118
        page = json.load(file)
    if name.endswith("_c40"):
        name, compression = name.removesuffix("_c40"), "c40"
    for of_label in page[name].values():
        videos = of_label[mode]
        if name in WITH_LEVELS:
            videos = videos[compression]
        for video, info in videos.items():
            number = (LABEL_DICT | (labels or {}))[info["label"]]
            frames = info["frames"]
            separator = "\\" if "\\" in frames[0] else "/"
            frames = sorted(frames, key=lambda path: int(path.split(separator)[-1].split(".")[0]))
            for path in frames:
                # Whatever does not begin with a dot gets a folder and a backslash in front.
                yield (path if path[0] == "." else f"./rgb\\{path}"), number, f"{info['label']}_{video}"


def _load(path: str, label: int, video: str) -> BenchSample:
    image = cv2.imread(path)
    assert image is not None, path
    mask_path = path.replace("frames", "masks")
    mask = cv2.imread(mask_path, 0) if os.path.exists(mask_path) else np.zeros(image.shape[:2], np.uint8)  # noqa: PTH110
    landmark_path = path.replace("frames", "landmarks").replace(".png", ".npy")
    landmarks = np.load(landmark_path) if os.path.exists(landmark_path) else np.zeros((81, 2))  # noqa: PTH110
    return BenchSample(path, label, video, image, mask, landmarks)
