"""Loading of weights files into networks: tensors only, never code, with the published file's hash checked."""

import hashlib
from pathlib import Path

from torch import nn

from facemill import DetectorError
from facemill.detectors.weights import read_tensors

__all__ = ["load_weights"]


def load_weights(network: nn.Module, path: Path, *, sha256: str | None = None, published_as: str | None = None) -> None:
    """Load a state dict from disk into a network; a `module.` prefix (of DataParallel) is ignored.

    The network may have no storage (built under `torch.device("meta")`).

    Args:
        sha256: hash of the published file, if known. It is checked only if the file has the
            published name, so that users can load weights of their own under another name.
        published_as: name of the published file.

    Raises:
        DetectorError: if the file is missing, is not the published one though named so, or does not fit.
    """
    if not path.is_file():
        raise DetectorError(f"There is no weights file {path}: give the path of one with --set detect.weights=PATH.")
    if sha256 is not None and path.name == published_as and _sha256(path) != sha256:
        raise DetectorError(
            f"{path} is not the published {published_as} (its sha256 is not {sha256}): "
            "fetch it again, or rename the file if the weights are your own."
        )
    state = {key.removeprefix("module."): value for key, value in read_tensors(path).items()}
    try:
        network.load_state_dict(state, assign=True)
        network.float()
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DetectorError(
            f"{path} does not fit {type(network).__name__} ({reason}): give the weights of this network."
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
