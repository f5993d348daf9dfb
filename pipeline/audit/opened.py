"""A dataset opened for an audit: its tables, and what was seen of some of its crops."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facemill.manifests.checks.sample_rows import Rows, recipe_facts
from facemill.manifests.checks.seen import SEEN, Seen
from facemill.manifests.schemas import FACTS, SAMPLES, VIDEOS
from facemill.manifests.shards.dataset import FACTS_FILE, SAMPLES_FILE, VIDEOS_FILE, read_dataset
from facemill.pipeline.audit.looks import Looks, look_at_split
from facemill.pipeline.data.split import read_listed

__all__ = ["Opened", "open_dataset"]


@dataclass(frozen=True)
class Opened:
    """A dataset.

    Attributes:
        name: for messages.
        rows: all samples, with the column `pixels`, which tells equal images.
        seen: of each sample.
        videos, facts: rows of videos.parquet and facts.parquet; empty if there are none.
        looks: crops that were looked at, by split.
        chosen: those crops of all splits, as rows.
    """

    name: str
    folder: Path
    rows: Rows
    seen: Seen
    videos: pa.Table
    facts: pa.Table
    looks: dict[str, Looks]
    chosen: Rows


def open_dataset(folder: Path, name: str, frames: int, on_crops: Callable[[int], None] | None = None) -> Opened:
    """Read a dataset's tables, and look at up to `frames` crops of each video.

    Raises:
        DatasetError: if it is unfinished or damaged.
    """
    info = read_dataset(folder)
    recipe = recipe_facts(info.recipe)
    tables = ((SAMPLES_FILE, SAMPLES), (VIDEOS_FILE, VIDEOS), (FACTS_FILE, FACTS))
    samples, videos, facts = (read_listed(folder, file, schema) for file, schema in tables)
    looks = {split: look_at_split(folder, split, frames, on_crops) for split in info.counts}
    chosen = pa.concat_tables([one.samples.select(SAMPLES.names) for one in looks.values()])
    at: Any = pc.index_in(chosen["sample_id"], value_set=samples["sample_id"].combine_chunks())
    values = np.zeros(len(samples), SEEN)
    values[at.to_numpy()] = np.concatenate([one.values["seen"] for one in looks.values()])
    seen = Seen(values, np.isin(np.arange(len(samples)), at.to_numpy()))
    rows = Rows(samples.append_column("pixels", seen.pixels), videos, recipe)
    return Opened(name, folder, rows, seen, videos, facts, looks, Rows(chosen, videos, recipe))
