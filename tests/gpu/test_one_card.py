"""Two processes that train on one GPU have the losses of one process with all of the batch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.one_card import losses

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ROOT = Path(__file__).parents[2]
DEVICE = "cuda:0"


def test_two_ranks_on_one_gpu_have_the_losses_of_one_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu.one_card"]
    ranks = [
        subprocess.Popen([*command, str(rank), "2", DEVICE, str(tmp_path / "losses")], cwd=ROOT) for rank in range(2)
    ]
    assert [rank.wait(300) for rank in ranks] == [0, 0]
    shares = [json.loads((tmp_path / f"losses.{rank}").read_text()) for rank in range(2)]
    whole = losses(0, 1, DEVICE)
    assert len(set(whole)) == len(whole)  # it learns
    assert shares[0] != shares[1]
    np.testing.assert_allclose(np.mean(shares, axis=0), whole, rtol=1e-4)
