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
from facemill.pipeline.train.module import ForgeryModule
from tests.pipeline.trained import SMALL

EPOCHS = 2


def main(data: Path, out: Path) -> None:
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "")))
    if rank == 0:
        time.sleep(3)  # so that the other rank comes first to whatever they both do
    seen: dict[str, list[list[int]]] = {"training_step": [[] for _ in range(EPOCHS)], "validation_step": [[], []]}
    ended: dict[str, Any] = {}
    for name, epochs in seen.items():
        step = getattr(ForgeryModule, name)

        def recorded(self, raw, number, step=step, epochs=epochs):
            epochs[self.current_epoch].extend(raw.index.tolist())
            return step(self, raw, number)

        setattr(ForgeryModule, name, recorded)
    keep = ForgeryModule.on_train_epoch_end

    def end(self: ForgeryModule) -> None:
        keep(self)
        ended["buffers"] = {name: value.tolist() for name, value in self.detector.named_buffers()}
        ended["weights"] = {name: value.tolist() for name, value in self.detector.named_parameters()}

    ForgeryModule.on_train_epoch_end = end
    recipe = load_recipe("default", [*SMALL, "train.batch=10", f"train.epochs={EPOCHS}", "train.balance=none"])
    torch.set_num_threads(1)
    result = train("mat", [data], out, recipe, device="cpu", progress=False)
    content = {"seen": seen, **ended, "is_global_zero": result.is_global_zero}
    (out.parent / f"rank-{rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
