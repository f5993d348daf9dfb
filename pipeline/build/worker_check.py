"""Whether every worker of a cluster can do the work as the driver would: the same versions, the same files in sight.

`describe` is sent to workers by value, since a worker may have no facemill at all: it imports the rest only inside.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["describe", "fit_workers"]


def describe(packages: Sequence[str], weights_file: str | None, roots: Sequence[str], run_file: str) -> dict[str, Any]:
    """Versions, the weights' hash, and what is not in sight, told by plain values.

    Args:
        packages: whose versions are told.
        weights_file: the face detector's.
        roots: folders of the videos.
        run_file: a file in the output folder's state.
    """
    import hashlib
    import importlib
    from importlib import metadata
    from pathlib import Path

    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    try:
        libraries = importlib.import_module("av").library_versions
        versions["libavcodec"] = ".".join(map(str, libraries["libavcodec"]))
    except ImportError:
        versions["libavcodec"] = "missing"
    if weights_file is not None:
        weights = Path(weights_file)
        versions["the weights"] = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "missing"
    unseen = [root for root in roots if "://" not in root and not Path(root).exists()]
    token = Path(run_file)
    if not token.is_file():
        unseen.append(str(token.parent.parent))
    return {"versions": versions, "unseen": unseen}


def fit_workers(
    own: Mapping[str, str], workers: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[str], str | None]:
    """Who may work.

    Args:
        own: what `describe` says of versions here.
        workers: what it says there, by address.

    Returns:
        the addresses of those that may; a line for each that may not, since it does not see a folder; and a sentence
        about a difference of versions, for which the cluster is refused.
    """
    fit, lines = [], []
    for address, told in workers.items():
        if different := list(_differences(own, told["versions"])):
            return [], [], f"The worker at {address} has {', '.join(different)}: give all of them the same versions."
        if told["unseen"]:
            lines.append(f"The worker at {address} is left out: it does not see {', '.join(told['unseen'])}.")
        else:
            fit.append(address)
    return fit, lines, None


def _differences(own: Mapping[str, str], theirs: Mapping[str, str]) -> Iterable[str]:
    for name, version in own.items():
        if theirs.get(name) != version:
            yield f"{name} {theirs.get(name)} instead of {version}"
