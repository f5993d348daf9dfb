"""The two checkpoints of a run: the last epoch's, for resuming, and the best epoch's, for release.

state_dict     of `ForgeryModule`: the detector's weights and buffers
optimizer, schedule
average        state of `AveragedModel`, whose `module` is a copy of the detector; None for none, not in older ones
epoch          number of the epoch that has ended, from 0
rows           of log.csv up to this epoch
first_logits   log-odds [B], float32, of rank 0's first validation batch in this epoch
scored         [N, 2], float64: row of the validation samples, and its log-odds in this epoch; not in older checkpoints
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from facemill import ConfigError
from facemill.detectors.weights import reason_of
from facemill.manifests.storage import atomic_path, refuse_special_file

__all__ = ["damage_told", "read_checkpoint", "write_checkpoint"]

_CONTENT = {"state_dict", "optimizer", "schedule", "epoch", "rows", "first_logits"}


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Attribute what reading or using a checkpoint raises to its file.

    Raises:
        ConfigError: for any error but a lack of memory; torch raises many types on damaged files.
    """
    try:
        yield
    except (ConfigError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ConfigError(f"{path} is damaged ({reason_of(error)}): train again in another folder.") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a run onto the CPU.

    Raises:
        ConfigError: if it is damaged.
    """
    with damage_told(path):
        refuse_special_file(path)
        content: dict[str, Any] = torch.load(path, "cpu", weights_only=True)
        if not content.keys() >= _CONTENT:
            raise ValueError("it lacks the parts of a checkpoint")
        if [row["epoch"] for row in content["rows"]] != [*range(content["epoch"] + 1)]:
            raise ValueError("its rows are not those of its epochs")
        return content


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, atomically."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
