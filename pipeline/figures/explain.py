"""Explanations of a forgery detector's scores: its own maps and Grad-CAM, drawn over crops."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from facemill import DatasetError
from facemill.detectors.forgery import ForgeryDetector
from facemill.detectors.forgery.gradcam import explanations
from facemill.manifests.records import LABELS
from facemill.pipeline.data import FaceDataset, Sample, collate, prepare
from facemill.pipeline.data.split import refuse_not_finite
from facemill.pipeline.figures.explanation_sheet import ExplanationRow, explanation_sheet
from facemill.pipeline.figures.sheet import save_png

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
        save_png(explanation_sheet(_explain(detector, faces, part, torch.device(device))), path)
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
    """Explain crops of known labels, with their scores and masks."""
    samples, images = _load(detector, faces, indices, device)
    with torch.no_grad():
        scores = detector(images).score.cpu()
    refuse_not_finite(scores.numpy(), faces.samples, np.array(indices))
    rows = faces.samples.take(indices).select(["method", "video_id", "frame_index"]).to_pylist()
    explained = []
    for sample, row, score, maps in zip(samples, rows, scores.tolist(), _maps(detector, images), strict=True):
        name = _name(sample["label"], row["method"])
        caption = f"{name}   score {score:.2f}   {row['video_id']} frame {row['frame_index']}"
        mask = _pixels(sample["mask"])[..., 0] if np.ravel(sample["has_mask"])[0] else None
        wrong = (score > 0.5) != bool(sample["label"])
        explained.append(ExplanationRow(caption, wrong, _pixels(sample["image"]), mask, maps))
    return explained


def explain_crops(
    detector: ForgeryDetector, faces: FaceDataset, captions: Mapping[int, str], device: torch.device
) -> list[ExplanationRow]:
    """Explain crops of unknown labels.

    Args:
        detector: on `device` and in eval mode.
        captions: by index in `faces`; ASCII.
    """
    samples, images = _load(detector, faces, captions, device)
    return [
        ExplanationRow(caption, False, _pixels(sample["image"]), None, maps)
        for sample, caption, maps in zip(samples, captions.values(), _maps(detector, images), strict=True)
    ]


def _load(
    detector: ForgeryDetector, faces: FaceDataset, indices: Iterable[int], device: torch.device
) -> tuple[list[Sample], Tensor]:
    """Samples, and their images as the detector takes them."""
    samples = [faces[index] for index in indices]
    return samples, prepare(collate(samples).to(device), detector.input_spec).images


def _maps(detector: ForgeryDetector, images: Tensor) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the maps [h, w] of each image; of a clip, those of the first frame."""
    found = explanations(detector, images).items()
    heats = {name: torch.nan_to_num((heat if heat.ndim == 3 else heat[:, 0]).float()).cpu() for name, heat in found}
    return ({name: heat[n].numpy() for name, heat in heats.items()} for n in range(len(images)))


def _name(label: int, method: str) -> str:
    return f"{LABELS[label]}: {method}" if label else LABELS[label]


def _pixels(tensor: Tensor) -> NDArray[np.uint8]:
    """An image [C, H, W], or the first of a clip, as [H, W, C]."""
    first = tensor if tensor.ndim == 3 else tensor[0]
    return np.ascontiguousarray(first.permute(1, 2, 0).numpy())
