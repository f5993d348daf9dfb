"""Release of a run's best weights with their model card, after checking that they reproduce the scores of training."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_model
from torch import Tensor

from facemill import DetectorError
from facemill.detectors.forgery import ForgeryBatch, ForgeryDetector, load_model
from facemill.detectors.forgery.saved import MODEL_FILE, load_detector
from facemill.manifests.storage import atomic_path, write_atomically
from facemill.pipeline.data import TrainingData, prepare
from facemill.pipeline.evaluate.scoring import scores_table
from facemill.pipeline.runs.folder import (
    BEST_CHECKPOINT,
    METRICS_FILE,
    VALIDATION_FILE,
    RunConfig,
    saved_model,
    write_model,
)
from facemill.pipeline.train.card import write_card
from facemill.pipeline.train.checkpoints import damage_told, read_checkpoint
from facemill.pipeline.train.device import channels_last
from facemill.pipeline.train.module import ForgeryModule

__all__ = ["release", "try_release"]

_SAME_NETWORK = 1e-3
"""Absolute and relative tolerance between the log-odds of two copies of a network on one device."""
_AS_LOGGED = 5e-2
"""The same for log-odds logged in training: with TF32, a GPU may run different kernels at different times."""


def try_release(detector: ForgeryDetector, config: RunConfig) -> None:
    """Save and load the weights once before training, so that a failure does not cost a trained network.

    Raises:
        DetectorError: if the weights cannot be saved, or cannot be loaded into a new detector.
    """
    with TemporaryDirectory() as folder:
        _save(detector, Path(folder) / MODEL_FILE)
        write_model(Path(folder), config, detector)
        load_model(folder)


def release(
    out: Path,
    module: ForgeryModule,
    config: RunConfig,
    faces: TrainingData,
    raw: ForgeryBatch,
    device: torch.device,
    *,
    mixed: bool,
) -> None:
    """Write model.safetensors from the best checkpoint, model.json and README.md, then metrics.json.

    Args:
        module: as trained; the best weights are loaded into its detector.
        raw: rank 0's first validation batch.
        device: where the weights were trained.
        mixed: training used bf16, whose log-odds are too coarse to compare with.

    Raises:
        DetectorError: if the weights score that batch differently in a new detector.
    """
    checkpoint = read_checkpoint(out / BEST_CHECKPOINT)
    with damage_told(out / BEST_CHECKPOINT):
        module.load_state_dict(checkpoint["state_dict"])
        if average := checkpoint.get("average"):  # of the detector, as `module`
            module.detector.load_state_dict({key[7:]: x for key, x in average.items() if key.startswith("module.")})
    expected = [(_log_odds(module.detector, raw, device), _SAME_NETWORK)]
    if not mixed:
        expected.append((checkpoint["first_logits"], _AS_LOGGED))
    with atomic_path(out / MODEL_FILE) as temporary:
        _save(module.detector, temporary)
        found = _log_odds(load_detector(saved_model(config, module.detector), temporary), raw, device)
        for logits, tolerance in expected:
            if not torch.allclose(found, logits, rtol=tolerance, atol=tolerance):
                worst = int((found - logits).abs().nan_to_num(torch.inf).argmax())
                raise DetectorError(
                    f"The best weights of {out} give other scores in a new {config.detector} than in training "
                    f"(log-odds {found[worst]:.4g} instead of {logits[worst]:.4g}), and are not released: the "
                    "detector depends on state that is not in its state dict, or was modified for training."
                )
    write_model(out, config, module.detector)
    best = checkpoint["rows"][checkpoint["epoch"]]
    scores = None
    if "scored" in checkpoint:
        places, logits = checkpoint["scored"].numpy().T
        scores = scores_table(faces.val.crops, faces.val.rows[places.astype(np.int64)], logits)
        with atomic_path(out / VALIDATION_FILE) as temporary:
            pq.write_table(scores, temporary)
    write_card(out, config, faces.roots, best, scores)
    content = {"epochs": config.train.epochs, **best}
    write_atomically(out / METRICS_FILE, f"{json.dumps(content, indent=2)}\n".encode())


def _save(detector: ForgeryDetector, path: Path) -> None:
    try:
        path.touch()
        mode = path.stat().st_mode
        save_model(detector, str(path))  # saves tied weights once; sets permissions to owner only
        path.chmod(mode)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DetectorError(f"The detector's weights cannot be saved as safetensors: {reason}.") from None


@torch.no_grad()
def _log_odds(detector: ForgeryDetector, raw: ForgeryBatch, device: torch.device) -> Tensor:
    """Log-odds [B], float32, on the CPU."""
    detector.to(device).eval()
    if device.type == "cuda":
        channels_last(detector)  # as in training
    logit: Tensor = detector(prepare(raw.to(device), detector.input_spec).images).logit
    return logit.float().cpu()
