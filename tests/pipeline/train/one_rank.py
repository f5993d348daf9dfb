"""One rank of a run of several: `python -m tests.pipeline.train.one_rank DATA OUT DEVICES NETWORK SETTING...`.

Started by torchrun or srun, or once, without a launcher: then Fabric starts the other ranks.
"""

import json
import os
import sys
import time
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.train import train
from facemill.pipeline.train.loop import TrainingLoop
from facemill.pipeline.train.module import ForgeryModule
from facemill.registry import FORGERY_DETECTORS
from tests.pipeline.train.tiny import Tiny, TinyOptions
from tests.pipeline.trained import SMALL


class Even(Tiny):
    """Its output for an image depends on no other image of the batch."""

    def __init__(self, options: TinyOptions) -> None:
        super().__init__(options)
        self.norm = nn.GroupNorm(2, 4)


def digests(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    return {name: sha256(value.detach().numpy().tobytes()).hexdigest() for name, value in tensors.items()}


def main(data: Path, out: Path, devices: int, network: str, settings: list[str]) -> None:
    rank = next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), 0)
    if rank == 0 and "RANK" in os.environ:
        time.sleep(3)  # so that the other ranks come first to whatever they all do
    seen: dict[str, dict[int, list[int]]] = {step: defaultdict(list) for step in ("training_step", "validation_step")}
    ended: dict[str, Any] = {}
    step, score, save = ForgeryModule.forward, ForgeryModule.score, TrainingLoop._save
    current = 0

    def recorded_step(self, take, epoch, number):
        nonlocal current
        current = epoch
        seen["training_step"][epoch].extend(take().index.tolist())
        return step(self, take, epoch, number)

    def recorded_score(self, raw, detector):
        seen["validation_step"][current].extend(raw.index.tolist())
        return score(self, raw, detector)

    def end(self: TrainingLoop, epoch: int) -> None:
        save(self, epoch)
        buffers = dict(self._module.named_buffers())
        ended["buffers"], ended["weights"] = digests(buffers), digests(dict(self._module.detector.named_parameters()))
        ended["centres"] = [value.tolist() for name, value in buffers.items() if name.endswith("centres")]

    ForgeryModule.forward, ForgeryModule.score, TrainingLoop._save = recorded_step, recorded_score, end
    FORGERY_DETECTORS._found["even"] = Even
    recipe = load_recipe("default", [*(SMALL if network == "mat" else ()), "train.balance=none", *settings])
    torch.set_num_threads(1)
    result = train(network, [data], out, recipe, device="cpu", devices=devices, progress=False, resume=True, workers=0)
    content = {"seen": seen, **ended, "is_global_zero": result.is_global_zero}
    (out.parent / f"rank-{rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
