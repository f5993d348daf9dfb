"""Which workers a build may use."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from facemill import ConfigError
from facemill.manifests import VideoEntry
from facemill.manifests.archives import archive_of
from facemill.manifests.scanning.listing import locate
from facemill.manifests.urls import is_url
from facemill.pipeline.build.executors import Executor
from facemill.pipeline.build.identity import WorkIdentity
from facemill.pipeline.build.worker_check import describe, fit_workers
from facemill.pipeline.config.recipe import Recipe

__all__ = ["check_workers"]

MOST_TRIED = 100
"""Videos of a root that are tried before it counts as one without files."""


def check_workers(
    executor: Executor,
    own: WorkIdentity,
    device: str,
    entries: Sequence[VideoEntry],
    recipe: Recipe,
    run_place: str,
    warn: Callable[[str], None],
) -> WorkIdentity:
    """The identity of the work with the workers' device; workers that do not see the files are left out.

    Args:
        warn: called with a line for each worker that is left out.

    Raises:
        ConfigError: a worker would give other bytes, or no worker can be used.
    """
    weights = None if recipe.detect.weights is None else str(recipe.detect.weights)
    devices = [own.device]

    def choose(told: dict[str, dict[str, Any]]) -> list[str]:
        fit, lines, difference, there = fit_workers(own.values(), told)
        if difference is not None:
            raise ConfigError(difference)
        if there is None:
            raise ConfigError(f"No worker can work: {' '.join(lines)}")
        for line in lines:
            warn(line)
        devices.append(there)
        return fit

    executor.choose_workers(describe, weights, device, _files(entries), run_place, choose=choose)
    return replace(own, device=devices[-1])


def _files(entries: Sequence[VideoEntry]) -> list[str]:
    """A file of each local root; the root itself if none is found. An unmounted disk leaves an empty folder."""
    found: dict[str, str] = {}
    tried: dict[str, int] = {}
    for entry in entries:
        root = entry.root
        if is_url(root) or root in found or tried.get(root, 0) >= MOST_TRIED:
            continue
        tried[root] = tried.get(root, 0) + 1
        location = locate(root, entry.path)
        place = Path((archive_of(location) or (location,))[0])
        if place.exists():
            found[root] = str(place)
    return sorted(found.get(root, root) for root in tried)
