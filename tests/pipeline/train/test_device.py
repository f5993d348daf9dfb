"""What a run computes in, and how its processes part."""

import os
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import distributed, nn

from facemill import ConfigError
from facemill.pipeline.train import device
from facemill.pipeline.train.device import count_processes, launched


class UsedTwice(nn.Module):
    """A scalar weight, whose gradient is the sum of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        both: torch.Tensor = self.layer(first).float() + self.layer(second).float()
        return both


def test_gradients_of_a_weight_that_is_used_twice_are_added_in_float32() -> None:
    with launched(on_gpu=False, nodes=1, processes=1, mixed=True) as fabric:
        module = UsedTwice()
        fabric.backward(fabric.setup(module)(torch.tensor([[256.0]]), torch.tensor([[1.0]])).sum())
    assert module.layer.weight.grad is not None
    assert float(module.layer.weight.grad) == 257  # bfloat16 has no number between 256 and 258


def test_in_a_batch_script_a_run_waits_for_no_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's variables tell of two tasks, which only srun would start; and Fabric has no advice about srun."""
    srun = tmp_path / "srun"
    srun.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name, value in (("NTASKS", "2"), ("NNODES", "1"), ("JOB_NAME", "train"), ("PROCID", "0"), ("LOCALID", "0")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    nodes, processes = count_processes(None, on_gpu=False)
    with launched(on_gpu=False, nodes=nodes, processes=processes, mixed=False) as fabric:
        assert fabric.world_size == 1


@pytest.mark.parametrize("fails", [False, True])
def test_ranks_leave_their_group(tmp_path: Path, fails: bool) -> None:
    """Otherwise gloo now and then aborts a process that ends, whose exit code is then not its own."""
    with suppress(ConfigError), launched(on_gpu=False, nodes=1, processes=1, mixed=False):
        distributed.init_process_group("gloo", f"file://{tmp_path}/ranks", rank=0, world_size=1)
        if fails:
            raise ConfigError("as a run does")
    assert not distributed.is_initialized()


def test_a_rank_that_fails_does_not_wait_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "LEAVING_S", 0.1)
    never = Event()
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "destroy_process_group", never.wait)
    with pytest.raises(ConfigError, match="as a run does"), launched(on_gpu=False, nodes=1, processes=1, mixed=False):
        raise ConfigError("as a run does")
    never.set()
