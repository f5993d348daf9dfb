"""The conditions that a run was trained under, beside its configuration: they affect bytes, not what is computed."""

import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError

from facemill import ConfigError
from facemill.manifests.storage import read_json, write_atomically
from facemill.pipeline.config.sections import Settings
from facemill.pipeline.runs.folder import CONDITIONS_FILE

__all__ = ["Conditions", "record_conditions"]


class Conditions(Settings):
    """What ran, in one part of a run."""

    device: str
    """`cpu`, or the GPU's name."""
    precision: Literal["float32", "bf16"]
    """bf16 is mixed: weights are float32."""
    nodes: int
    ranks: int
    """Training processes on all nodes."""
    threads: int | None
    """Torch's threads per rank on a CPU, on which sums depend; None on a GPU."""
    norms: Literal["synchronised", "per rank"]
    """Whether norm layers computed their statistics over all ranks."""
    compiled: bool
    torch: str = torch.__version__


def record_conditions(run: Path, now: Conditions, *, first_epoch: int) -> str | None:
    """Record the conditions of a part of a run, which begins with an epoch, and compare them with the part before.

    Returns:
        one sentence if they differ, so that the run's bytes will; otherwise None.

    Raises:
        ConfigError: if the file is damaged.
    """
    parts = [(epoch, part) for epoch, part in _read(run) if epoch < first_epoch]  # later ones ended no epoch
    if parts and parts[-1][1] == now:
        return None
    note = _compare(run, parts[-1][1], now) if parts else None
    content = [{"first_epoch": epoch, **part.model_dump(mode="json")} for epoch, part in [*parts, (first_epoch, now)]]
    write_atomically(run / CONDITIONS_FILE, f"{json.dumps({'parts': content}, indent=2)}\n".encode())
    return note


def _compare(run: Path, earlier: Conditions, now: Conditions) -> str:
    changed = [name for name in Conditions.model_fields if getattr(now, name) != getattr(earlier, name)]
    what = " and ".join(f"{name} {getattr(now, name)} instead of {getattr(earlier, name)}" for name in changed)
    return f"The run in {run} goes on with {what}: it will not equal an uninterrupted run to the byte."


def _read(run: Path) -> list[tuple[int, Conditions]]:
    path = run / CONDITIONS_FILE
    try:
        parts = read_json(path)["parts"]
        return [(int(part.pop("first_epoch")), Conditions.model_validate(part)) for part in parts]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ValidationError) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConfigError(f"{path} is damaged ({fault}): delete it to resume without a comparison.") from None
