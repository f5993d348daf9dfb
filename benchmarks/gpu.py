"""The build on a GPU against the usual way on it, on files of FaceForensics++'s shape, as whole commands.

The usual way has one process for four cores, since each has a CUDA context and a network of its own.
"""

import shutil
import sys
from pathlib import Path

import torch

from benchmarks.ffpp import FACEMILL, GROUPS, Cost, run
from benchmarks.ffpp_files import make_files
from benchmarks.row import Row
from facemill.pipeline.build.gpu_load import GpuLoad, GpuSampler, command_for

__all__ = ["measure"]

CORES_EACH = 4


def measure(scratch: Path, *, cores: int) -> list[Row]:
    """Time of the usual way, divided by that of the build: with frames decoded by the CPU, and by the GPU."""
    if not torch.cuda.is_available():
        print("gpu: skipped, there is no CUDA device")
        return []
    root, table, out = make_files(scratch / "ffpp", GROUPS), scratch / "ffpp.parquet", scratch / "gpu-out"
    run([FACEMILL, "scan", "ffpp", root, "--quality", "c23", "--out", table, "--overwrite"])
    processes = max(1, cores // CORES_EACH)
    files = sorted(root.glob("*/*/c23/videos/*.mp4"))
    usual, busy = _watched(
        [sys.executable, "-m", "benchmarks.usual_way", "faces", out / "usual", processes, *files], out / "usual"
    )
    rows = []
    for backend in ("pyav", "nvdec"):
        settings = ["--set", "sample.frames=32", "--set", f"decode.backend={backend}"]
        ours, ours_busy = _watched(
            [FACEMILL, "build", table, "--out", out / backend, "--device", "cuda", "--workers", processes, *settings],
            out / backend,
        )
        details = f"{torch.cuda.get_device_name()}, {cores} cores: {usual}, {busy} / {ours}, {ours_busy}"
        rows.append(Row("gpu", f"usual way / build, {backend}, time", usual.wall / ours.wall, ">= 10", details))
    return rows


def _watched(command: list[object], out: Path) -> tuple[Cost, GpuLoad]:
    shutil.rmtree(out, ignore_errors=True)
    with GpuSampler(command_for("cuda:0")) as sampler:
        cost = run(command)
        return cost, sampler.take()
