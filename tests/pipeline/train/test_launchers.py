"""Two processes that torchrun or srun has started train one network."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from facemill import ConfigError
from facemill.pipeline.train.device import count_processes

ROOT = Path(__file__).parents[3]
LONGEST_S = 600
SCRIPT = "tests.pipeline.train.two_ranks"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def by_torchrun(*arguments: Path) -> list[subprocess.Popen[str]]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    return [start([*launcher, "-m", SCRIPT, *map(str, arguments)], {})]


def by_srun(*arguments: Path) -> list[subprocess.Popen[str]]:
    """What srun gives its tasks to know of each other."""
    common = {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    own = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    return [start(["-m", SCRIPT, *map(str, arguments)], {**common, **one}) for one in own]


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(2 * LONGEST_S)
@pytest.mark.parametrize("launch", [by_torchrun, by_srun])
def test_two_ranks_share_each_epoch_and_end_alike(toy: Path, tmp_path: Path, launch: Any) -> None:
    processes = launch(toy, tmp_path / "run")
    for process in processes:
        output, _ = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, output
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    for step, samples in (("training_step", 30), ("validation_step", 12)):
        for epoch in range(2):
            together = ranks[0]["seen"][step][epoch] + ranks[1]["seen"][step][epoch]
            assert sorted(together) == list(range(samples))
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["buffers"] == ranks[1]["buffers"]
    [centres] = [value for name, value in ranks[0]["buffers"].items() if name.endswith("centres")]
    assert any(value for row in centres for value in row)
    assert [rank["is_global_zero"] for rank in ranks] == [True, False]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"] == 2


def test_a_launcher_s_processes_are_those_that_train(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_processes(None, on_gpu=False) == (1, 1)
    assert count_processes(3, on_gpu=False) == (1, 3)
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    assert count_processes(None, on_gpu=True) == (2, 4)
    with pytest.raises(ConfigError, match="started 4 processes on each node, not 2: use --devices 4"):
        count_processes(2, on_gpu=True)
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "6"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert count_processes(2, on_gpu=True) == (3, 2)
