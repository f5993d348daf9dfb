"""Numbers of workers, by which those of one machine share its GPUs."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

__all__ = ["WorkerNumbers", "visible_gpus"]


def visible_gpus() -> str | None:
    """The GPUs that this process was given, as CUDA reads them; None for all of the machine."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@dataclass
class WorkerNumbers:
    """Numbers 0, 1, 2 … for the workers of a host that see the same GPUs.

    Workers that were given different GPUs, as dask-cuda and Slurm do, share none: each is number 0 of its own.

    Attributes:
        of: number by address.
    """

    of: dict[str, int] = field(default_factory=dict)
    _seats: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def add(self, visible: Mapping[str, str | None], workers: Callable[[], Collection[str]]) -> None:
        """Number new workers, in the order of their addresses, with the least numbers that no living worker has.

        Args:
            visible: result of `visible_gpus` by address.
            workers: called for the addresses of the living workers, if a new one may replace one that has died.
        """
        new = {
            address: (urlsplit(address).hostname, gpus)
            for address, gpus in sorted(visible.items())
            if address not in self.of
        }
        if set(new.values()) & set(self._seats.values()):
            alive = set(workers())
            self.of = {address: number for address, number in self.of.items() if address in alive}
            self._seats = {address: seat for address, seat in self._seats.items() if address in alive}
        for address, seat in new.items():
            taken = {self.of[other] for other, its in self._seats.items() if its == seat}
            self.of[address] = next(number for number in count() if number not in taken)
            self._seats[address] = seat
