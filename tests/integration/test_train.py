"""`facemill train` and `evaluate` as a user runs them: interrupted by a terminal or a batch system, then resumed."""

import csv
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.integration.command import LONGEST_S, Ended, ended, facemill, start
from tests.pipeline.trained import SMALL, build_toy

pytestmark = pytest.mark.timeout(2 * LONGEST_S)

EPOCHS = 8
READERS = 2


def wait_until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def train_args(data: Path, run: Path, workers: int) -> list[object]:
    sets = [part for setting in (*SMALL, f"train.epochs={EPOCHS}") for part in ("--set", setting)]
    return ["train", "mat", data, "--out", run, "--recipe", "default", "--device", "cpu", "--workers", workers, *sets]


def stopped(command: list[object], number: signal.Signals, when: Callable[[psutil.Process], bool]) -> Ended:
    """How a command ends that gets a signal: Ctrl-C for itself, SIGTERM for all of its processes."""
    with start(*command) as process:
        watched = psutil.Process(process.pid)
        wait_until(lambda: when(watched), process)
        if number is signal.SIGINT:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
        return ended(process)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGINT, 0), pytest.param(signal.SIGTERM, READERS, marks=pytest.mark.long)]
)
def test_a_stopped_training_ends_with_4_and_resume_finishes(
    number: signal.Signals, workers: int, tmp_path: Path
) -> None:
    data, run = build_toy(tmp_path / "data"), tmp_path / "run"
    command = train_args(data, run, workers)
    interrupted = stopped(command, number, lambda process: (run / "checkpoints" / "last.ckpt").is_file())
    assert interrupted.code == 4
    assert "the same command with --resume continues" in interrupted.err
    assert "Traceback" not in interrupted.err
    assert not (run / "metrics.json").exists()
    resumed = facemill(*command, "--resume")
    assert (resumed.code, resumed.err) == (0, "")
    assert f"best of {EPOCHS} epochs is" in resumed.out
    with (run / "log.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(EPOCHS))
    said = (run / "train.log").read_text()
    assert said.count(f": facemill train mat {data}") == 2
    assert "Interrupted: the same command with --resume continues" in said
    assert f"epoch {EPOCHS}/{EPOCHS}  train_loss " in said
    assert resumed.out.splitlines()[-1] in said

    if number is signal.SIGTERM:
        out = tmp_path / "evaluation"
        command = ["evaluate", run, data, "--out", out, "--robustness", "--device", "cpu", "--workers", READERS]
        interrupted = stopped(command, number, lambda one: any("/test-" in file.path for file in one.open_files()))
        assert interrupted.code == 4
        assert interrupted.err.splitlines()[-1] == "Interrupted: nothing was written, run the same command again."
        assert "Traceback" not in interrupted.err
        assert not out.exists()
