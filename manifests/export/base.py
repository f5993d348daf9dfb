"""Shared by all exports: claim a folder, iterate over the shards, record which are done."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from facemill import ConfigError, DatasetError, __version__
from facemill.manifests.remote import borrowed
from facemill.manifests.shards import EncodedSample, format_of
from facemill.manifests.shards.dataset import DATASET_FILE, ShardInfo
from facemill.manifests.storage import read_json, write_atomically

__all__ = ["EXPORT_FOLDER", "ExportReport", "Exporter", "claim", "export_shards"]

EXPORT_FOLDER = "_export"
"""Subfolder in which an export records its dataset and the finished shards."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The result of an export.

    Attributes:
        videos: number of videos with samples.
        notes: sentences on what the user must know or do.
    """

    out: Path
    samples: int
    videos: int
    notes: tuple[str, ...]


class Exporter(Protocol):
    """Writes a built dataset in another project's layout; an interrupted export is resumed by calling it again."""

    def __call__(
        self, folder: Path, out: Path, *, prefix: str | None, threads: int, on_samples: Callable[[int], None]
    ) -> ExportReport:
        """Export the dataset in `folder` to `out`, a new folder or one that this export has begun.

        Args:
            prefix: start of the paths in the exported files; None for the exporter's default.
            threads: shards written in parallel.
            on_samples: called with the number of samples just written, or found already written.

        Raises:
            ConfigError: `out` contains something else, or the prefix is invalid.
            DatasetError: the dataset is incomplete or damaged.
        """


def claim(folder: Path, out: Path, to: str) -> None:
    """Claim `out` for the export of this dataset, or check that it is already claimed for it.

    Raises:
        ConfigError: it contains another export, or anything else.
    """
    digest = hashlib.sha256((folder / DATASET_FILE).read_bytes()).hexdigest()
    identity = {"to": to, "dataset": digest, "facemill": __version__}
    path = out / EXPORT_FOLDER / "export.json"
    if path.is_file():
        try:
            before = read_json(path)
        except ValueError as error:
            raise ConfigError(f"{path} is damaged ({error}): choose another --out, or delete the folder.") from None
        if before != identity:
            raise ConfigError(f"{out} contains another export: choose another --out, or delete the folder.")
    elif out.exists() and (not out.is_dir() or any(child.name != EXPORT_FOLDER for child in out.iterdir())):
        raise ConfigError(f"{out} is not empty and not an export: choose another --out.")
    else:
        write_atomically(path, json.dumps(identity, indent=1).encode())


def export_shards(
    folder: Path,
    out: Path,
    shards: tuple[ShardInfo, ...],
    write: Callable[[EncodedSample], Iterable[Path]],
    *,
    threads: int,
    on_samples: Callable[[int], None],
) -> None:
    """Pass every sample to `write`, several shards in parallel; a shard is skipped if all of its files are there.

    Args:
        write: called from several threads; must be idempotent. Returns the paths, below `out`, of the files written.

    Raises:
        DatasetError: a shard is damaged, or its number of samples differs from dataset.json.
    """

    def export(shard: ShardInfo) -> int:
        done = out / EXPORT_FOLDER / f"{shard.path.replace('/', '-')}.done"
        if not _is_whole(out, done):
            rows = 0
            sizes: dict[str, int] = {}
            with borrowed(folder, shard.path):
                for sample in format_of(shard.path).read(folder / shard.path):
                    _refuse_damaged(sample, shard, rows)
                    sizes |= {path.as_posix(): (out / path).stat().st_size for path in write(sample)}
                    rows += 1
            if rows != shard.rows:
                raise DatasetError(f"{shard.path} holds {rows} samples, not {shard.rows}: run `facemill verify`.")
            os.sync()  # once per shard: syncing each of its many files would be slow
            write_atomically(done, json.dumps(sizes).encode())
        return shard.rows

    with ThreadPoolExecutor(threads) as pool:
        for rows in pool.map(export, shards):
            on_samples(rows)


def _is_whole(out: Path, done: Path) -> bool:
    """Whether the files of a finished shard still have the sizes with which they were written."""
    try:
        return all((out / path).stat().st_size == size for path, size in read_json(done).items())
    except (OSError, ValueError):
        return False


def _refuse_damaged(sample: EncodedSample, shard: ShardInfo, row: int) -> None:
    """Raise DatasetError for a sample whose image is not the recorded one, or whose mask cannot be decoded."""
    intact = hashlib.sha256(sample.image).hexdigest() == sample.record.image_sha256
    if not intact or cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_UNCHANGED) is None:
        raise DatasetError(f"Row {row} of {shard.path} has a damaged {'mask' if intact else 'image'}: build it again.")
