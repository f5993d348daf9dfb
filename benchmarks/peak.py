"""The largest amount of memory that this process has taken."""

import re
from pathlib import Path

__all__ = ["peak_gib"]


def peak_gib() -> float:
    """In GiB, since it began to run its program: what `getrusage` tells includes its parent's from before."""
    (kibibytes,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(kibibytes) / 2**20
