"""Shared by all exports: claim a folder, iterate over the shards, record which are done."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from facemill import ConfigError, DatasetError, __version__
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
    write: Callable[[EncodedSample], None],
    *,
    threads: int,
    on_samples: Callable[[int], None],
) -> None:
    """Pass every sample to `write`, several shards in parallel; finished shards are skipped.

    Args:
        write: called from several threads; must be idempotent.

    Raises:
        DatasetError: a shard is damaged, or its number of samples differs from dataset.json.
    """

    def export(shard: ShardInfo) -> int:
        done = out / EXPORT_FOLDER / f"{shard.path.replace('/', '-')}.done"
        if not done.is_file():
            rows = 0
            for sample in format_of(shard.path).read(folder / shard.path):
                write(sample)
                rows += 1
            if rows != shard.rows:
                raise DatasetError(f"{shard.path} holds {rows} samples, not {shard.rows}: run `facemill verify`.")
            os.sync()  # once per shard: syncing each of its many files would be slow
            write_atomically(done, b"")
        return shard.rows

    with ThreadPoolExecutor(threads) as pool:
        for rows in pool.map(export, shards):
            on_samples(rows)
