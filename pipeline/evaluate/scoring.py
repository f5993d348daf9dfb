"""Scoring of face crops with a detector."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from facemill.detectors.forgery import ForgeryBatch, ForgeryDetector
from facemill.pipeline.data import FaceDataset, FaceLoader, prepare
from facemill.pipeline.data.split import refuse_not_finite
from facemill.pipeline.evaluate.corruptions import Corruption, corrupt
from facemill.pipeline.evaluate.scores import COPIED, NO_CORRUPTION, SCORES, name_groups

__all__ = ["score_faces", "scores_table"]


def score_faces(
    detector: ForgeryDetector,
    faces: FaceDataset,
    *,
    device: torch.device | str = "cpu",
    batch: int = 32,
    workers: int = 0,
    precision: Literal["float32", "bf16"] = "float32",
    corruption: Corruption | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> pa.Table:
    """Score every crop of a dataset, or every clip, whose score is that of each of its crops.

    Args:
        detector: is moved to `device` and set to eval mode.
        batch: crops, or clips, per forward pass.
        workers: processes that read and decode; 0 to do both in this process.
        precision: `bf16` for mixed precision.
        corruption: applied to the stored crops before they are resized to the detector's input size.
        on_progress: called after each batch with the number of samples in it.

    Returns:
        a table with schema `SCORES`, a row per crop of the samples, in the order of `faces.crops`; crops that are in no
        clip have none.

    Raises:
        DetectorError: naming the sample, if an output is not finite.
    """
    device = torch.device(device)
    detector.to(device).eval()
    loader = FaceLoader(faces, batch_size=batch, num_workers=workers, pin_memory=device.type == "cuda")
    rows, logits = [], []
    with torch.no_grad():
        for raw in loader:
            images = _images(raw.to(device), detector, faces, corruption)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logit = detector(images).logit
            rows.append(raw.index)
            logits.append(logit.double().cpu())
            if on_progress is not None:
                on_progress(raw.size)
    return scores_table(faces.crops, faces.rows[torch.cat(rows).numpy()], torch.cat(logits).numpy(), corruption)


def _images(raw: ForgeryBatch, detector: ForgeryDetector, faces: FaceDataset, corruption: Corruption | None) -> Tensor:
    if corruption is not None:
        names = faces.crops["sample_id"].take(faces.rows[raw.index.cpu().numpy()].ravel()).to_pylist()
        corrupted = corrupt(raw.images.flatten(0, -4).float() / 255, corruption, list(map(str, names)))
        stored = corrupted.mul(255).round().clamp(0, 255).byte()  # as if stored as uint8
        raw = raw.replace(image=stored.reshape(raw.images.shape))
    return prepare(raw, detector.input_spec).images


def scores_table(
    samples: pa.Table, rows: NDArray[np.int64], logits: NDArray[np.float64], corruption: Corruption | None = None
) -> pa.Table:
    """Log-odds [N] of rows of a dataset's `samples` as a table with schema `SCORES`, in the order of `samples`.

    Args:
        rows: [N], or the rows of each clip [N, T], all of which get its log-odds.

    Raises:
        DetectorError: naming the sample, if one is not finite.
    """
    refuse_not_finite(logits, samples, rows.reshape(len(logits), -1)[:, 0])
    rows, logits = rows.ravel(), np.repeat(logits, rows.size // len(logits))
    order = np.argsort(rows, kind="stable")  # streams return samples in a different order
    logits = logits[order]
    samples = samples.take(rows[order]).combine_chunks()
    table = samples.select(COPIED)
    columns: dict[str, Any] = dict(zip(table.column_names, table.columns, strict=True))
    columns |= {"logit": logits, "score": expit(logits)}
    columns["corruption"] = [NO_CORRUPTION if corruption is None else corruption.name] * len(rows)
    columns["severity"] = [0 if corruption is None else corruption.severity] * len(rows)
    columns["group"] = name_groups(samples)
    return pa.table(columns, schema=SCORES)
