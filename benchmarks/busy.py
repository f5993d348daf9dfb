"""Shares of time in which a GPU and its decoders are busy while something runs, by nvidia-smi."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

__all__ = ["Busy", "watch_gpu"]

COMMAND = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu,utilization.decoder,memory.used",
    "--format=csv,noheader,nounits",
    "--id=0",
    "--loop-ms=500",
)


@dataclass
class Busy:
    """Means of the samples of the first GPU; complete when the context of `watch_gpu` is left.

    Attributes:
        samples: their number; with none, because nvidia-smi does not work, the shares are 0.
        gpu, decoders: shares of time, 0 to 1.
        memory: most memory in use by all processes, MiB.
    """

    samples: int = 0
    gpu: float = 0.0
    decoders: float = 0.0
    memory: float = 0.0

    def __str__(self) -> str:
        if not self.samples:
            return "nvidia-smi tells nothing"
        return f"GPU busy {self.gpu:.0%}, its decoders {self.decoders:.0%}, {self.memory:.0f} MiB"


@contextmanager
def watch_gpu(command: tuple[str, ...] = COMMAND) -> Iterator[Busy]:
    """Sample the first GPU twice a second, until the context is left."""
    busy = Busy()
    try:
        sampler = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:  # not installed
        yield busy
        return
    try:
        yield busy
    finally:
        sampler.terminate()
        output, _ = sampler.communicate()
        rows = [[float(value) for value in line.split(",")] for line in output.splitlines() if _is_sample(line)]
        if rows:
            gpu, decoders, memory = zip(*rows, strict=True)
            busy.samples, busy.memory = len(rows), max(memory)
            busy.gpu, busy.decoders = fmean(gpu) / 100, fmean(decoders) / 100


def _is_sample(line: str) -> bool:
    """Not `[N/A]`, and not the half of a line that a sampler was ended in."""
    values = line.split(",")
    return len(values) == 3 and all(value.strip().isdecimal() for value in values)
