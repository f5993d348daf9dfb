"""Checks of a run's datasets before it begins."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facemill import ConfigError, DatasetError
from facemill.detectors.forgery import options_of
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.data.forge import check_reals
from facemill.pipeline.data.module import used_rows
from facemill.pipeline.data.overlap import check_subjects, read_part, refuse_shared
from facemill.pipeline.runs.folder import RunConfig
from facemill.pipeline.runs.framing import differences_from_paper

__all__ = ["check_data"]


def check_data(data: Sequence[Path], config: RunConfig, cache: Path | None = None) -> tuple[pa.Table, list[str]]:
    """Refuse data that would make training or validation invalid, and a cache that has no space for its images.

    Returns:
        identifiers of the samples used, as in `facemill.pipeline.data.overlap.Part`, and warnings, a sentence each.

    Raises:
        ConfigError: if datasets or splits share samples, or have no method that is left out, or forgeries are to be
            made of clips; or for the cache.
        DatasetError: if a dataset is unfinished or damaged, or lacks a split or a class in it.
    """
    s = config.train
    forged = s.forgeries != "none"
    clips = options_of(config.detector, config.options).sampling
    if forged and clips:
        raise ConfigError(
            f"train.forgeries={s.forgeries} makes single crops, and {config.detector} takes clips: leave it out."
        )
    part: dict[str, Any] = {"frames": s.frames, "every": s.every, "seed": config.seed, **clips}
    opened = {
        "train": FaceDataset(data, "train", **part, rows=used_rows(s, "train"), fields=(), cache=cache),
        "val": FaceDataset(data, "val", rows=used_rows(s, "val"), fields=(), cache=cache, **clips),
    }
    if forged:
        check_reals(opened["train"].samples, s.forgeries)
    for split, faces in opened.items():
        reals, fakes = np.bincount(faces.labels, minlength=2).tolist()
        if not reals or not (fakes or (forged and split == "train")):
            raise DatasetError(
                f"Split {split} of {', '.join(map(str, data))} has {reals} reals and {fakes} fakes, and training needs "
                "both, as does the AUC that selects the best weights: add the other class."
            )
    parts = [read_part(folder, split) for folder in data for split in opened]
    refuse_shared(parts)
    warnings = [*filter(None, [check_subjects(parts)]), *differences_from_paper(config.detector, data)]
    used = pa.concat_tables([part.contents for part in parts])
    there = set(map(str, used["method"].unique().to_pylist())) - {"real"}
    if unknown := [name for name in s.without if name not in there]:
        raise ConfigError(f"No fake is of the method {unknown[0]!r}, which is left out: there are {_listed(there)}.")
    if unknown := [name for name in s.methods if name not in there]:
        warnings.append(f"No fake is of the method {unknown[0]!r}: there are {_listed(there)}.")
    warnings += [
        f"{faces.unused} of {len(faces.crops)} crops in {split} are in no clip of {clips['clip']} frames, and not used."
        for split, faces in opened.items()
        if faces.unused
    ]
    samples = pa.concat_tables([faces.divided()[0].select(["sample_id"]) for faces in opened.values()])["sample_id"]
    return used.filter(pc.is_in(used["sample_id"], value_set=samples.combine_chunks())), warnings


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
