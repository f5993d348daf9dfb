"""Part of a built dataset as a dataset of its own, without a copy of any shard."""

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq

from facemill.manifests.shards.dataset import (
    SAMPLES_FILE,
    VIDEOS_FILE,
    count_samples,
    read_dataset,
    write_dataset,
)
from facemill.manifests.storage import atomic_path
from facemill.pipeline.experiments.figures import Source

__all__ = ["select"]


def select(folder: Path, source: Source, into: Path) -> Path:
    """Make a dataset of those samples of another that belong to a source: links to its shards, and a list of its own.

    Equal datasets give equal bytes, so that a run on it can be resumed.

    Returns:
        `into`, or `folder` if all samples belong to the source.

    Raises:
        DatasetError: if the dataset is unfinished or damaged.
    """
    info = read_dataset(folder)
    samples = pq.read_table(folder / SAMPLES_FILE)
    chosen = samples.filter(source.rows())
    if len(chosen) == len(samples):
        return folder
    into.mkdir(parents=True, exist_ok=True)
    for name in {shard.path.partition("/")[0] for shard in info.shards} | {VIDEOS_FILE}:
        link = into / name
        link.unlink(missing_ok=True)  # the dataset may have been moved
        if (folder / name).exists():
            link.symlink_to((folder / name).absolute())
    with atomic_path(into / SAMPLES_FILE) as temporary:  # its metadata stay: the places in the shards are as they were
        pq.write_table(chosen, temporary)
    write_dataset(into, dataclasses.replace(info, counts=count_samples([chosen])))
    return into
