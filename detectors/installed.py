"""Files of installed packages, of which only these are needed: importing a package may take seconds, or fail."""

from importlib.util import find_spec
from pathlib import Path

from facemill.errors import DetectorError

__all__ = ["package_folder"]


def package_folder(package: str, needed: str) -> Path:
    """Folder of an installed package, which is not imported.

    Args:
        needed: which part of it is needed, as in `whose weights find faces`, for the error.

    Raises:
        DetectorError: if it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DetectorError(f"The package {package}, {needed}, is missing: install facemill's dependencies.")
    return Path(spec.submodule_search_locations[0])
