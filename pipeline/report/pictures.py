"""The crops that a report shows: the worst of each kind, and where one of them comes from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemill import DatasetError
from facemill.manifests.checks.columns import codes, pc, places
from facemill.manifests.checks.face_rules import sides
from facemill.manifests.checks.sample_rows import Rows
from facemill.pipeline.audit.opened import Opened
from facemill.pipeline.data.reader import ImageReader
from facemill.pipeline.data.split import open_split
from facemill.pipeline.figures.page import file_url
from facemill.pipeline.figures.sheet import Image, overlay_mask, resize_square

__all__ = ["Crops", "Gallery", "Picture", "picture_url", "sample_of", "worst_crops"]

SHOWN = 8
"""Crops of each kind, each of another original."""
_SIDE = 192
_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows.

    Attributes:
        url: holds the picture.
        figure: the number for which it is shown.
        caption: names the crop.
    """

    url: str
    alt: str
    figure: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind; `wide` ones are two crops side by side."""

    title: str
    look_for: str
    pictures: list[Picture]
    wide: bool = False


class Crops:
    """Crops and masks of a dataset by their sample ids."""

    def __init__(self, folder: Path, splits: Iterable[str]) -> None:
        opened = [open_split(folder, split) for split in splits]
        self._splits = [(split.sample_ids, ImageReader(split, ("image", "mask"))) for split in opened]

    def read(self, sample_id: str) -> tuple[Image, Image]:
        """Image [S, S, 3] and mask [S, S] of a sample.

        Raises:
            DatasetError: if the shard is damaged.
        """
        for ids, reader in self._splits:
            if (row := ids.index(sample_id).as_py()) >= 0:
                images = reader.read(row)
                image = cv2.imdecode(np.frombuffer(images["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
                mask = cv2.imdecode(np.frombuffer(images["mask"], np.uint8), cv2.IMREAD_GRAYSCALE)
                if image is not None and mask is not None:
                    return np.asarray(image, np.uint8), np.asarray(mask, np.uint8)
        raise DatasetError(f"The images of {sample_id} cannot be decoded: run `facemill verify`.")


def picture_url(*images: Image) -> str:
    """Square images side by side as the source of an image of a page."""
    shown = np.hstack([resize_square(image, _SIDE) for image in images])
    encoded = cv2.imencode(".webp", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return file_url(encoded.tobytes(), "image/webp")


def worst_crops(one: Opened, crops: Crops) -> Iterator[Gallery]:
    """The worst crops of each kind, the worst first."""
    rows, looks = one.rows, np.concatenate([looks.values for looks in one.looks.values()])
    sharpness = np.full(len(rows), np.nan)
    sharpness[places(one.chosen["sample_id"], rows["sample_id"])] = looks["sharpness"]
    coverage = np.where(rows.equal("label", 1), rows.numbers("mask_coverage"), np.nan).astype(np.float64)
    offset = np.abs(rows.numbers("pair_offset").astype(np.float64))
    kinds: tuple[tuple[str, str, NDArray[np.float64], str, str], ...] = (
        ("Smallest faces", "Is it a face, and is enough of it left?", sides(rows).max(axis=1), "{:.0f} px", ""),
        ("Most blurred", "A blurred video, or a moment of movement?", sharpness, "sharpness {:.1f}", ""),
        ("Emptiest masks", "Is this face forged at all?", coverage, "{:.1%} forged", "mask"),
        ("Fullest masks", "Is the whole picture forged, or the fake out of step?", -coverage, "{:.1%} forged", "mask"),
        ("Lowest detector scores", "Is it a face?", rows.numbers("score").astype(np.float64), "score {:.3f}", ""),
        (
            "Largest pair offsets", "Do original (left) and fake (right) show the same moment?",
            np.where(rows.paired & (offset > 0), -offset, np.nan), "{:.0f} frames apart", "pair",
        ),
    )  # fmt: skip
    for title, look_for, badness, form, shown in kinds:
        found = [
            _picture(rows, row, form.format(abs(badness[row])), crops, shown)
            for row in _first_of_originals(rows, badness)
        ]
        if found:
            yield Gallery(title, look_for, found, wide=shown == "pair")


def sample_of(rows: Rows, crops: Crops) -> tuple[dict[str, Any], list[Picture]]:
    """A sample's row, and its pictures: a paired fake with a mask, if there is one."""
    good = np.flatnonzero(rows.paired & (np.nan_to_num(rows.numbers("mask_coverage").astype(np.float64)) > 0))
    row = int(good[len(good) // 2]) if len(good) else 0
    values = rows.values(row)
    pictures = [_picture(rows, row, "The crop", crops, "")]
    if len(good):
        pictures.append(_picture(rows, row, "Its mask", crops, "mask"))
        pictures.append(_picture(rows, int(rows.original[row]), "Its original", crops, ""))
    return values, pictures


def _first_of_originals(rows: Rows, badness: NDArray[np.float64]) -> Sequence[int]:
    """The rows of the smallest numbers, one of each original."""
    originals = codes(pc.coalesce(rows["source_id"], rows["video_id"]))
    order = np.argsort(badness, kind="stable")[: int(np.isfinite(badness).sum())]
    _, first = np.unique(originals[order], return_index=True)
    return [int(row) for row in order[np.sort(first)[:SHOWN]]]


def _picture(rows: Rows, row: int, figure: str, crops: Crops, shown: str) -> Picture:
    values = rows.values(row)
    image, mask = crops.read(values["sample_id"])
    images = [overlay_mask(image, mask) if shown == "mask" else image]
    if shown == "pair":
        images.insert(0, crops.read(rows.values(int(rows.original[row]))["sample_id"])[0])
    caption = f"{values['method']}, {values['video_id']}, frame {values['frame_index']}"
    return Picture(picture_url(*images), f"{figure}: {caption}", figure, caption)
