"""How busy a GPU and its decoders are, by nvidia-smi: torch asks NVML by a package that is not installed with it."""

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from threading import Lock, Thread
from typing import NamedTuple

__all__ = ["GpuLoad", "GpuSampler", "command_for"]


class GpuLoad(NamedTuple):
    """Sums over samples of a GPU, by all processes that use it.

    Attributes:
        samples: their number.
        gpu, decoders: sums of the shares of time, 0 to 1, in which they were busy.
    """

    samples: int = 0
    gpu: float = 0.0
    decoders: float = 0.0

    def __str__(self) -> str:
        if not self.samples:
            return "nvidia-smi tells nothing"
        return f"GPU busy {self.gpu / self.samples:.0%}, decoders {self.decoders / self.samples:.0%}"


class GpuSampler(AbstractContextManager["GpuSampler"]):
    """Samples a GPU once a second, in a process of its own that ends with the context.

    Without nvidia-smi, there are no samples.

    Args:
        command: prints a line per sample: percentages of the GPU and of its decoders.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._load, self._lock = GpuLoad(), Lock()
        self._process: subprocess.Popen[str] | None = None
        if command:
            try:
                self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            except OSError:  # not installed
                return
            self._thread = Thread(target=self._read, name="gpu load", daemon=True)
            self._thread.start()

    def take(self) -> GpuLoad:
        """The samples since the last call."""
        with self._lock:
            load, self._load = self._load, GpuLoad()
        return load

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            values = [value.strip() for value in line.split(",")]
            if len(values) == 2 and all(map(str.isdecimal, values)):  # not `[N/A]`
                gpu, decoders = (int(value) / 100 for value in values)
                with self._lock:
                    before = self._load
                    self._load = GpuLoad(before.samples + 1, before.gpu + gpu, before.decoders + decoders)

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._thread.join()
            self._process.communicate()


def command_for(device: str) -> list[str]:
    """The command that samples a torch device; empty for a CPU. By UUID: nvidia-smi numbers GPUs in another order."""
    if not device.startswith("cuda"):
        return []
    import torch

    try:
        gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    except (AssertionError, AttributeError, RuntimeError):  # the detector tells what is wrong with the GPU
        return []
    query = "--query-gpu=utilization.gpu,utilization.decoder"
    return ["nvidia-smi", query, "--format=csv,noheader,nounits", f"--id={gpu}", "--loop=1"]
