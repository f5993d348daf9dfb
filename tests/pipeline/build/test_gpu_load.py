"""The shares of time in which a GPU is busy, by a program that prints what nvidia-smi does."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from facemill.manifests.shards.summary import summarise
from facemill.pipeline.build.gpu_load import GpuLoad, GpuSampler, command_for
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.build.test_shard import BIG
from tests.pipeline.conftest import film

FAKE = """
import sys, time
for line in ("10, 0", "[N/A], [N/A]", "30, 50", "5"):
    print(line, flush=True)
open(sys.argv[1], "w").close()
time.sleep(60)
"""


def fake(printed: Path) -> list[str]:
    return [sys.executable, "-c", FAKE, str(printed)]


def test_samples_are_added_up_until_they_are_taken(tmp_path: Path) -> None:
    start = time.monotonic()
    taken = GpuLoad()
    with GpuSampler(fake(tmp_path / "printed")) as sampler:
        while taken.samples < 2 and time.monotonic() < start + 30:
            more = sampler.take()
            taken = GpuLoad(*(a + b for a, b in zip(taken, more, strict=True)))
            time.sleep(0.02)
    assert sampler.take() == GpuLoad()
    assert taken == (2, pytest.approx(0.4), 0.5)
    assert str(taken) == "GPU busy 20%, decoders 25%"
    assert time.monotonic() < start + 50  # the program has been ended


@pytest.mark.parametrize("command", [[], ["no-such-program"]])
def test_without_the_program_there_are_no_samples(command: list[str]) -> None:
    with GpuSampler(command) as sampler:
        pass
    assert str(sampler.take()) == "nvidia-smi tells nothing"


def test_the_gpu_is_named_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command_for("cpu") == []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"uuid of {device}"))
    command = command_for("cuda:3")
    assert command[0] == "nvidia-smi"
    assert "--id=GPU-uuid of cuda:3" in command
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace())
    assert command_for("cuda:3") == []


def test_a_build_tells_how_busy_its_gpu_was(
    add_video: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark_detector: object
) -> None:
    monkeypatch.setattr("facemill.pipeline.build.groups.command_for", lambda device: [f"no-such-program-{device}"])
    monkeypatch.setattr(GpuSampler, "take", lambda self: GpuLoad(4, 3.0, 1.0))
    videos = [add_video(name, film([BIG], 6)) for name in ("one", "two")]
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=2"])
    build(videos, recipe, tmp_path / "out", executor="sequential", device="cpu")
    [use] = summarise(tmp_path / "out").devices
    assert (use.clips, use.busy, use.decoding) == (2, 0.75, 0.25)
