"""`facemill train` as a user runs it: interrupted by Ctrl-C, then resumed."""

import csv
import signal
import time
from pathlib import Path

import pytest

from tests.integration.command import LONGEST_S, ended, facemill, start
from tests.pipeline.trained import SMALL, build_toy

pytestmark = pytest.mark.timeout(2 * LONGEST_S)

EPOCHS = 8


def test_ctrl_c_ends_with_4_and_resume_finishes(tmp_path: Path) -> None:
    data, run = build_toy(tmp_path / "data"), tmp_path / "run"
    sets = [part for setting in (*SMALL, f"train.epochs={EPOCHS}") for part in ("--set", setting)]
    command = ["train", "mat", data, "--out", run, "--recipe", "default", "--device", "cpu", "--workers", 0, *sets]
    with start(*command) as process:
        deadline = time.monotonic() + LONGEST_S
        while not (run / "checkpoints" / "last.ckpt").is_file():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        interrupted = ended(process)
    assert interrupted.code == 4
    assert "the same command with --resume goes on" in interrupted.err
    assert "Traceback" not in interrupted.err
    assert not (run / "metrics.json").exists()
    resumed = facemill(*command, "--resume")
    assert (resumed.code, resumed.err) == (0, "")
    assert f"best of {EPOCHS} epochs is" in resumed.out
    with (run / "log.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(EPOCHS))
