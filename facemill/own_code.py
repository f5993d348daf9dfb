"""Classes that are named as `module:Class`: users' own code, from installed packages or the current folder."""

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from facemill.errors import ConfigError
from facemill.options import Options

__all__ = ["OwnCode", "admit", "changes", "describe", "is_own", "use_current_folder"]


class OwnCode(Options):
    """The code behind a name, as it was when it was used."""

    name: str
    """`module:Class`."""
    file: str
    """Path of the module's file."""
    sha256: str
    """Of that file; modules that it imports are not included."""
    version: str | None = None
    """Of the installed package that the module belongs to."""


def is_own(name: str) -> bool:
    """Whether a name is `module:Class`."""
    return ":" in name


def use_current_folder() -> None:
    """Let modules be imported from the current folder too, after all others: as a user has asked for by naming one."""
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.append(str(Path.cwd()))


def describe(name: str) -> OwnCode:
    """Describe the code of a class that has been imported."""
    module = name.partition(":")[0]
    file = Path(str(sys.modules[module].__file__)).resolve()
    try:
        packages = _packages().get(module.partition(".")[0], [])
        number = version(packages[0]) if packages else None
    except PackageNotFoundError:
        number = None
    return OwnCode(name=name, file=str(file), sha256=sha256(file.read_bytes()).hexdigest(), version=number)


_packages = cache(packages_distributions)  # which reads the lists of files of all that is installed


def admit(codes: Iterable[OwnCode]) -> None:
    """Let the code that a run's folder names be imported.

    A folder that somebody else has made must not choose what is run here: from the current folder a module is only
    imported if it is the very file that the run was trained with.

    Raises:
        ConfigError: if the module is neither installed nor that file.
    """
    for code in codes:
        module = code.name.partition(":")[0].partition(".")[0]
        if find_spec(module) is not None:
            continue
        file = Path(code.file)
        if file.is_file() and file.is_relative_to(Path.cwd().resolve()):
            use_current_folder()
            continue
        raise ConfigError(
            f"The run uses {code.name}, which cannot be imported here: use the command in the folder it was trained "
            f"in (the module is {file}), or set PYTHONPATH to the module's folder."
        )


def changes(codes: Iterable[OwnCode]) -> Iterator[str]:
    """Yield a sentence for each imported code that is not what it was."""
    for code in codes:
        if code.name.partition(":")[0] in sys.modules and (now := describe(code.name)).sha256 != code.sha256:
            yield f"{now.file} has changed since the run was started with {code.name}."
