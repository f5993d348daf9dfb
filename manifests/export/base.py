"""What every export does: claim a folder, go through the shards, remember which are done."""

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
"""Where an export keeps what it is of, and which shards are done."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export came to.

    Attributes:
        videos: of which the samples are.
        notes: what the reader must know or do, a sentence each.
    """

    out: Path
    samples: int
    videos: int
    notes: tuple[str, ...]


class Exporter(Protocol):
    """Writes a built dataset in another project's layout; called again after being killed, it goes on."""

    def __call__(
        self, folder: Path, out: Path, *, prefix: str | None, threads: int, on_samples: Callable[[int], None]
    ) -> ExportReport:
        """Export the dataset in `folder` to `out`, a new folder or one that this export has begun.

        Args:
            prefix: what paths in the exported files begin with; None for the exporter's own choice.
            threads: shards written at once.
            on_samples: called with the number of samples just written, or found written.

        Raises:
            ConfigError: `out` holds something else, or the prefix cannot be.
            DatasetError: the dataset is not whole, or damaged.
        """


def claim(folder: Path, out: Path, to: str) -> None:
    """Take `out` for the export of this dataset, or find that it already is.

    Raises:
        ConfigError: if it is another export's, or holds anything else.
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
            raise ConfigError(f"{out} holds another export: choose another --out, or delete the folder.")
    elif out.exists() and (not out.is_dir() or any(child.name != EXPORT_FOLDER for child in out.iterdir())):
        raise ConfigError(f"{out} is not empty and holds no export: choose another --out.")
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
    """Give every sample to `write`, several shards at once; a shard that is done is passed over.

    Args:
        write: called from many threads; writing a sample anew must do no harm.

    Raises:
        DatasetError: a shard is damaged, or does not hold as many samples as dataset.json says.
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
            os.sync()  # once a shard, since its files are too many to sync each
            write_atomically(done, b"")
        return shard.rows

    with ThreadPoolExecutor(threads) as pool:
        for rows in pool.map(export, shards):
            on_samples(rows)
