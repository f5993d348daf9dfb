"""One of the processes that train on the same GPU: `python -m tests.gpu.one_card RANK RANKS DEVICE FILE`."""

import json
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from facemill.detectors.forgery import ForgeryBatch
from facemill.pipeline.config.train_settings import AugmentSettings, TrainSettings
from facemill.pipeline.train.module import ForgeryModule
from tests.gpu.test_forgery_gpu import raw_batch
from tests.pipeline.train.one_rank import Even
from tests.pipeline.train.tiny import TinyOptions

__all__ = ["losses"]

STEPS = 4


def losses(rank: int, ranks: int, device: str) -> list[float]:
    """Mean loss of each step of training on a rank's share of a batch."""
    torch.manual_seed(0)
    settings = TrainSettings(augment=AugmentSettings(flip=0, jpeg=0))
    module = ForgeryModule(Even(TinyOptions(size=160)), settings, seed=0).to(device)
    wrapped = module if ranks == 1 else DistributedDataParallel(module)
    optimizer = torch.optim.SGD(module.parameters(), 0.5)
    whole = raw_batch(device)
    share = ForgeryBatch({name: whole[name][rank::ranks] for name in whole})
    found = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss, _ = wrapped(lambda: share, 0, step)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def main(rank: int, ranks: int, device: str, file: Path) -> None:
    # NCCL refuses two ranks on one GPU.
    distributed.init_process_group("gloo", f"file://{file}.group", rank=rank, world_size=ranks)
    file.with_suffix(f".{rank}").write_text(json.dumps(losses(rank, ranks, device)))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
