"""Sums, tensors, buffers and failures over the ranks of a run."""

from collections.abc import Callable, Mapping, Sequence

import torch
from lightning.fabric import Fabric
from torch import Tensor, distributed, nn
from torchmetrics.utilities.distributed import gather_all_tensors

from facemill import FacemillError
from facemill.pipeline.train.epoch_log import Row

__all__ = ["Means", "copy_buffers", "gather", "on_rank_0"]


class Means:
    """Means of named scalars, which are kept on their device until the end."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        """Add scalars that are means over `weight` samples; not every name needs to be there each time."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().double() * weight
            self._weights[name] = self._weights.get(name, 0) + weight

    def over_ranks(self, fabric: Fabric) -> Row:
        """Read the means over all ranks; a rank may lack some of the names."""
        sums = torch.stack(list(self._sums.values())).tolist()  # one read for all
        own = {name: (total, self._weights[name]) for name, total in zip(self._sums, sums, strict=True)}
        ranks = [own]
        if fabric.world_size > 1:
            ranks = [{}] * fabric.world_size
            distributed.all_gather_object(ranks, own)
        names = dict.fromkeys(name for rank in ranks for name in rank)
        pairs = {name: [rank[name] for rank in ranks if name in rank] for name in names}
        return {name: sum(total for total, _ in of) / sum(weight for _, weight in of) for name, of in pairs.items()}


def gather(parts: Sequence[Tensor], fabric: Fabric) -> Tensor:
    """Concatenate tensors [n] of all ranks, which may have different numbers of them, rank after rank."""
    own = torch.cat(list(parts))
    return torch.cat(gather_all_tensors(own)) if fabric.world_size > 1 else own


def copy_buffers(module: nn.Module, fabric: Fabric) -> None:
    """Give all ranks the buffers of rank 0, as DDP does before each training step."""
    if fabric.world_size > 1:
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)


def on_rank_0(fabric: Fabric, act: Callable[[], object]) -> None:
    """Call a function on rank 0 only, for which the others wait; a `FacemillError` is raised on all ranks."""
    failure = None
    if fabric.is_global_zero:
        try:
            act()
        except FacemillError as error:
            failure = error
    failure = fabric.broadcast(failure)
    if failure is not None:
        raise failure
