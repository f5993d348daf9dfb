"""Whether every worker of a cluster has the same versions as the driver and sees the same files.

`describe` is sent to workers by value, since a worker may not have facemill: all imports are inside the function.
"""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["describe", "fit_workers"]


def describe(weights_file: str | None, device: str, files: Sequence[str], run_place: str) -> dict[str, Any]:
    """The versions and device that this process would use, and the paths that it does not see, as plain values.

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
) -> tuple[list[str], list[str], str | None, str | None]:
    """Determine which workers can be used.

    Args:
        own: the driver's identity. Its device is ignored, since it processes nothing; only the workers' devices must
            be equal.
        workers: the result of `describe` of each worker, by address.

    Returns:
        Addresses of the workers to use; a message for each worker left out because it does not see a folder; a
        message about a difference, for which the cluster is refused; and the device of the workers to use.
    """
    from facemill.pipeline.build.identity import differences

    same = {section: value for section, value in own.items() if section not in ("recipe", "device")}
    device: dict[str, str] = {}
    fit, lines = [], []
    for address, told in workers.items():
        blind = bool(told["unseen"])
        if different := differences(same if blind else {**same, **device}, told["identity"]):
            fault = " and ".join(different)
            return [], [], f"The worker at {address} has {fault}: give all of them the same.", None
        if blind:
            lines.append(f"The worker at {address} is left out: it does not see {', '.join(told['unseen'])}.")
        else:
            fit.append(address)
            device = {"device": told["identity"]["device"]}
    return fit, lines, None, device.get("device")
