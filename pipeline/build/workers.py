"""Which workers a build may use: those that have the same versions as the driver and see the same files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from facemill import ConfigError
from facemill.manifests import VideoEntry
from facemill.manifests.archives import archive_of
from facemill.manifests.scanning.listing import locate
from facemill.manifests.urls import is_url
from facemill.pipeline.build.executors import Executor
from facemill.pipeline.build.identity import WITH, WorkIdentity, differences
from facemill.pipeline.config.recipe import Recipe

__all__ = ["check_workers", "describe", "fit_workers"]

MOST_TRIED = 100  # videos of a root, before it counts as one without files


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
        ConfigError: a worker would give other bytes, no worker can be used, or the recipe needs a GPU that none has.
    """
    weights = None if recipe.detect.weights is None else str(recipe.detect.weights)
    devices = [own.device]

    def choose(told: dict[str, dict[str, Any]]) -> list[str]:
        fit, lines, device = fit_workers(own.values(), told)
        if device is None:
            raise ConfigError(f"No worker can work: {' '.join(lines)}")
        for line in lines:
            warn(line)
        devices.append(device)
        return fit

    executor.choose_workers(describe, weights, device, _files(entries), run_place, choose=choose)
    if recipe.decode.backend == "nvdec" and WITH not in devices[-1]:
        raise ConfigError(
            f"'decode.backend: nvdec' needs an NVIDIA GPU, and the work would be on {devices[-1]}: set it to auto, "
            "or give --device cuda where there is one."
        )
    return replace(own, device=devices[-1])


def describe(weights_file: str | None, device: str, files: Sequence[str], run_place: str) -> dict[str, Any]:
    """The versions and device that this process would use, and the paths that it does not see, as plain values.

    It is sent to workers by value, since a worker may not have facemill: all imports are inside.

    Args:
        weights_file: the face detector's weights.
        device: as in `BuildJob`.
        files: paths that a worker must see.
        run_place: a folder in the output folder's state, or the fsspec URL of an object.
    """
    import hashlib
    from pathlib import Path

    import fsspec  # which Dask needs, too

    told: dict[str, Any] = {}
    try:
        from facemill import __version__
        from facemill.pipeline.build import identity

        told["version of facemill or its libraries"] = {"facemill": __version__, **identity.versions()}
        told["device"] = identity.device_kind(device)
    except Exception as error:  # facemill or a library is missing or too old there
        told["version of facemill or its libraries"] = {"facemill": f"missing ({error})"}
    if weights_file is not None:
        weights = Path(weights_file)
        told["weights file"] = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "missing"
    unseen = [file for file in files if not Path(file).exists()]
    try:
        if "://" in run_place:
            with fsspec.open(run_place):
                pass
        seen = "://" in run_place or Path(run_place).is_dir()
    except Exception:  # of the library of any protocol
        seen = False
    if not seen:
        unseen.append(run_place.rsplit("/", 2)[0])
    return {"identity": told, "unseen": unseen}


def fit_workers(
    own: Mapping[str, Any], workers: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[str], str | None]:
    """Determine which workers can be used.

    Args:
        own: the driver's identity. Its device is ignored, since it processes nothing; only the workers' devices must
            be equal.
        workers: the result of `describe` of each worker, by address.

    Returns:
        Addresses of the workers to use; a message for each worker left out because it does not see a folder; and the
        device of the workers to use.

    Raises:
        ConfigError: a worker differs, for which the cluster is refused.
    """
    same = {section: value for section, value in own.items() if section not in ("recipe", "device")}
    device: dict[str, str] = {}
    fit, lines = [], []
    for address, told in workers.items():
        blind = bool(told["unseen"])
        if different := differences(same if blind else {**same, **device}, told["identity"]):
            fault = " and ".join(different)
            raise ConfigError(f"The worker at {address} has {fault}: give all of them the same.")
        if blind:
            lines.append(f"The worker at {address} is left out: it does not see {', '.join(told['unseen'])}.")
        else:
            fit.append(address)
            device = {"device": told["identity"]["device"]}
    return fit, lines, device.get("device")


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
