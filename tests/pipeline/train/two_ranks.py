"""One rank of a run that a launcher has started: `python -m tests.pipeline.train.two_ranks DATA OUT`."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.train import train
from facemill.pipeline.train.loop import TrainingLoop
from facemill.pipeline.train.module import ForgeryModule
from tests.pipeline.trained import SMALL

EPOCHS = 2


def main(data: Path, out: Path) -> None:
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "")))
    if rank == 0:
        time.sleep(3)  # so that the other rank comes first to whatever they both do
    seen: dict[str, list[list[int]]] = {"training_step": [[] for _ in range(EPOCHS)], "validation_step": [[], []]}
    ended: dict[str, Any] = {}
    step, score, save = ForgeryModule.forward, ForgeryModule.score, TrainingLoop._save
    epochs = 0

    def recorded_step(self, take, epoch, number):
        seen["training_step"][epoch].extend(take().index.tolist())
        return step(self, take, epoch, number)

    def recorded_score(self, raw):
        seen["validation_step"][epochs].extend(raw.index.tolist())
        return score(self, raw)

    def end(self: TrainingLoop, epoch: int) -> None:
        nonlocal epochs
        save(self, epoch)
        epochs += 1
        ended["buffers"] = {name: value.tolist() for name, value in self._module.named_buffers()}
        ended["weights"] = {name: value.tolist() for name, value in self._module.detector.named_parameters()}

    ForgeryModule.forward, ForgeryModule.score, TrainingLoop._save = recorded_step, recorded_score, end
    recipe = load_recipe("default", [*SMALL, "train.batch=10", f"train.epochs={EPOCHS}", "train.balance=none"])
    torch.set_num_threads(1)
    result = train("mat", [data], out, recipe, device="cpu", progress=False)
    content = {"seen": seen, **ended, "is_global_zero": result.is_global_zero}
    (out.parent / f"rank-{rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
