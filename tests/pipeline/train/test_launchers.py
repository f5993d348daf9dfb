"""Two and four processes that Fabric, torchrun or srun has started train one network."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facemill import ConfigError
from facemill.pipeline.train.device import count_processes
from facemill.pipeline.train.loop import TrainingLoop
from facemill.pipeline.train.module import ForgeryModule
from facemill.registry import FORGERY_DETECTORS
from tests.network import free_port
from tests.pipeline.train import one_rank

ROOT = Path(__file__).parents[3]
LONGEST_S = 600
SCRIPT = "tests.pipeline.train.one_rank"
SAMPLES = {"training_step": 30, "validation_step": 12}
Launch = Callable[[int, list[str]], list[subprocess.Popen[str]]]


def by_fabric(ranks: int, arguments: list[str]) -> list[subprocess.Popen[str]]:
    return [start(["-m", SCRIPT, *arguments], {})]


def by_torchrun(ranks: int, arguments: list[str]) -> list[subprocess.Popen[str]]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--master-port", str(free_port())]
    return [start([*launcher, "-m", SCRIPT, *arguments], {})]


def by_srun(ranks: int, arguments: list[str]) -> list[subprocess.Popen[str]]:
    """What srun gives its tasks to know of each other."""
    common = {
        "SLURM_NTASKS": str(ranks),
        "SLURM_NTASKS_PER_NODE": str(ranks),
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    own = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(ranks)]
    return [start(["-m", SCRIPT, *arguments], {**common, **one}) for one in own]


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(launch: Launch, ranks: int, data: Path, out: Path, network: str, *settings: str) -> list[dict[str, Any]]:
    """What each rank saw, and had in the end."""
    processes = launch(ranks, [str(data), str(out), str(ranks), network, *settings])
    for process in processes:
        output, _ = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, output
    files = [out.parent / f"rank-{rank}.json" for rank in range(ranks)]
    told = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    return told


def assert_shared(ranks: list[dict[str, Any]], epochs: list[int]) -> None:
    """Each sample is seen once in each of these epochs, and in training some again, for equally many on each rank."""
    for step, samples in SAMPLES.items():
        assert all(sorted(map(int, rank["seen"][step])) == epochs for rank in ranks)
        for epoch in epochs:
            of_ranks = [rank["seen"][step][str(epoch)] for rank in ranks]
            together = Counter(number for seen in of_ranks for number in seen)
            assert sorted(together) == list(range(samples))
            assert len({len(seen) for seen in of_ranks}) == 1
            assert together.total() == -(-samples // len(ranks)) * len(ranks)


LONG = pytest.mark.long


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.timeout(2 * LONGEST_S)
@pytest.mark.parametrize(
    ("launch", "ranks", "resumes"),
    [
        (by_torchrun, 2, False),
        pytest.param(by_torchrun, 2, True, marks=LONG),
        pytest.param(by_fabric, 2, True, marks=LONG),
        pytest.param(by_srun, 2, True, marks=LONG),
        pytest.param(by_fabric, 4, True, marks=LONG),
        pytest.param(by_torchrun, 4, True, marks=LONG),
    ],
)
def test_ranks_share_each_epoch_end_alike_and_resume(
    toy: Path, tmp_path: Path, launch: Launch, ranks: int, resumes: bool
) -> None:
    out = tmp_path / "run"
    # Batches that divide what a rank sees of 30 samples, 15 or 8: an incomplete last one would be left out.
    batch = f"train.batch={(5 if ranks == 2 else 4) * ranks}"
    # A second start, which resumes, takes as long again: apart for the launcher that is always tried.
    starts = {1: [0], 2: [1]} if resumes else {2: [0, 1]}
    for epochs, new in starts.items():
        told = run(launch, ranks, toy, out, "mat", batch, f"train.epochs={epochs}")
        assert_shared(told, new)
        assert all(rank["weights"] == told[0]["weights"] for rank in told)
        assert all(rank["buffers"] == told[0]["buffers"] for rank in told)
        [centres] = told[0]["centres"]
        assert any(value for row in centres for value in row)
        assert [rank["is_global_zero"] for rank in told] == [True] + [False] * (ranks - 1)
        assert json.loads((out / "metrics.json").read_text())["epochs"] == epochs
    assert len(rows(out)) == 2


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "log.csv").read_text().splitlines()))


ALIKE_ON_ALL = (
    "train.batch=10",
    "train.epochs=2",
    "train.augment.flip=0",
    "train.augment.jpeg=0",
)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.timeout(2 * LONGEST_S)
def test_two_ranks_have_the_losses_of_one_process_with_all_of_the_batch(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what differs by design: random numbers of each rank, and the statistics of batch norm."""
    for owner, name in ((ForgeryModule, "forward"), (ForgeryModule, "score"), (TrainingLoop, "_save")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back what the rank replaces
    monkeypatch.setitem(FORGERY_DETECTORS._found, "even", one_rank.Even)
    one_rank.main(toy, tmp_path / "1", 1, "even", list(ALIKE_ON_ALL))
    run(by_fabric, 2, toy, tmp_path / "2", "even", *ALIKE_ON_ALL)
    losses = []
    for ranks in (1, 2):
        log = rows(tmp_path / f"{ranks}")
        losses.append([float(row[name]) for row in log for name in ("train_loss", "val_loss")])
    assert losses[0][0] != losses[0][2]  # it learns
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_launcher_s_processes_are_those_that_train(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_processes(None, on_gpu=False) == (1, 1)
    assert count_processes(3, on_gpu=False) == (1, 3)
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    assert count_processes(3, on_gpu=False) == (1, 3)  # in a batch script, which is no task
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert count_processes(None, on_gpu=True) == (2, 4)
    with pytest.raises(ConfigError, match="started 4 processes on each node, not 2: use --devices 4"):
        count_processes(2, on_gpu=True)
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "6"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert count_processes(2, on_gpu=True) == (3, 2)
