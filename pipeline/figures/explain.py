"""Explanations of a forgery detector's scores: its own maps and Grad-CAM, drawn over crops."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from facemill import DatasetError
from facemill.detectors.forgery import ForgeryDetector
from facemill.detectors.forgery.gradcam import explanations
from facemill.manifests.records import LABELS
from facemill.pipeline.data import FaceDataset, collate, prepare
from facemill.pipeline.data.split import refuse_not_finite
from facemill.pipeline.figures.explanation_sheet import ExplanationRow, write_explanation_sheet

__all__ = ["choose_samples", "draw_explanations", "explain_crops"]

_ROWS_A_SHEET = 8


def draw_explanations(
    detector: ForgeryDetector,
    faces: FaceDataset,
    folder: str | Path,
    *,
    rows: int = 16,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draw sheets `explanations-01.png`, ... of crops, ground-truth masks, Grad-CAM and the detector's own maps.

    Of a clip, the first frame is drawn, with the score of the clip.

    Args:
        detector: is moved to `device` and set to eval mode.
        faces: usually the test split of a dataset.
        rows: total number of crops, spread over methods (including reals) and videos, chosen by `seed`.

    Returns:
        the files written.

    Raises:
        DatasetError: if there is no sample to draw.
        DetectorError: naming the sample, if a score is not finite.
    """
    chosen = choose_samples(faces.samples, rows, seed)
    if not chosen:
        raise DatasetError("There is no face crop to explain: give a dataset with samples in this split.")
    detector.to(device).eval()
    paths = []
    for number, start in enumerate(range(0, len(chosen), _ROWS_A_SHEET), 1):
        part = chosen[start : start + _ROWS_A_SHEET]
        path = Path(folder) / f"explanations-{number:02d}.png"
        write_explanation_sheet(_explain(detector, faces, part, torch.device(device)), path)
        paths.append(path)
    return paths


def choose_samples(samples: pa.Table, count: int, seed: int) -> list[int]:
    """Choose rows of a samples table: round-robin over methods (reals first) and videos, with random frames.

    Returns:
        up to `count` row numbers, so that every sheet is equally mixed; a second frame of a video is chosen
        only after one of every video of its method.
    """
    random = np.random.default_rng(seed)
    columns = samples.select(["label", "dataset", "method", "video_id"]).to_pydict()
    videos: dict[tuple[int, str], dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (label, dataset, method, video) in enumerate(zip(*columns.values(), strict=True)):
        videos[label, method][dataset, video].append(row)
    queues = []
    for _, by_video in sorted(videos.items()):
        shuffled = [random.permutation(rows).tolist() for rows in by_video.values()]
        order = random.permutation(len(shuffled)).tolist()
        queues.append(_in_turn([shuffled[position] for position in order]))
    return list(islice(_in_turn(queues), count))


def _in_turn(queues: list[list[int]]) -> list[int]:
    return [row for row in chain.from_iterable(zip_longest(*queues)) if row is not None]


def _explain(
    detector: ForgeryDetector, faces: FaceDataset, indices: list[int], device: torch.device
) -> list[ExplanationRow]:
    samples = [faces[index] for index in indices]
    images = prepare(collate(samples).to(device), detector.input_spec).images
    with torch.no_grad():
        scores = detector(images).score.cpu()
    refuse_not_finite(scores.numpy(), faces.samples, np.array(indices))
    heats = _heats(detector, images)
    rows = faces.samples.take(indices).select(["method", "video_id", "frame_index"]).to_pylist()
    return [
        ExplanationRow(
            caption=f"{_name(sample['label'], row['method'])}   score {score:.2f}   "
            f"{row['video_id']} frame {row['frame_index']}",
            wrong=(score > 0.5) != bool(sample["label"]),
            crop=_pixels(sample["image"]),
            mask=_pixels(sample["mask"])[..., 0] if np.ravel(sample["has_mask"])[0] else None,
            maps={name: heat[position] for name, heat in heats.items()},
        )
        for position, (sample, row, score) in enumerate(zip(samples, rows, scores.tolist(), strict=True))
    ]


def explain_crops(
    detector: ForgeryDetector, faces: FaceDataset, captions: Mapping[int, str], device: torch.device
) -> list[ExplanationRow]:
    """Explain crops of unknown labels.

    Args:
        detector: on `device` and in eval mode.
        captions: by index in `faces`; ASCII.
    """
    samples = [faces[index] for index in captions]
    heats = _heats(detector, prepare(collate(samples).to(device), detector.input_spec).images)
    return [
        ExplanationRow(caption, False, _pixels(sample["image"]), None, {name: heat[n] for name, heat in heats.items()})
        for n, (sample, caption) in enumerate(zip(samples, captions.values(), strict=True))
    ]


def _heats(detector: ForgeryDetector, images: Tensor) -> "dict[str, np.ndarray[Any, np.dtype[np.float32]]]":
    """Maps [B, h, w]; of clips, those of the first frames."""
    maps = {name: heat if heat.ndim == 3 else heat[:, 0] for name, heat in explanations(detector, images).items()}
    return {name: torch.nan_to_num(heat.float()).cpu().numpy() for name, heat in maps.items()}


def _name(label: int, method: str) -> str:
    return f"{LABELS[label]}: {method}" if label else LABELS[label]


def _pixels(tensor: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """An image [C, H, W], or the first of a clip, as [H, W, C]."""
    first = tensor if tensor.ndim == 3 else tensor[0]
    return np.ascontiguousarray(first.permute(1, 2, 0).numpy())
