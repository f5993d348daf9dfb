"""Input and output paths of commands: local but for datasets, and a command replaces only its own earlier output."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facemill import ConfigError

__all__ = ["dataset_folder", "free_file", "free_folder", "free_names", "local_path", "whole_dataset"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def local_path(text: Any) -> Path:
    """Parse an argument that must be a path on this machine: `typer.Option(parser=local_path)`.

    Raises:
        ConfigError: for a URL, for which a folder such as `s3:` would be created.
    """
    if _URL.match(str(text)):
        raise ConfigError(f"{text} is a URL, but a local path is needed: mount it or copy it.")
    return Path(text)


def dataset_folder(text: Any, *, whole: bool = False) -> Path:
    """Parse a built dataset's folder, or its fsspec URL: `typer.Argument(parser=dataset_folder)`.

    Returns:
        the folder, or that of a copy: see `facemill.manifests.remote.local_folder`.

    Raises:
        DatasetError: if a URL cannot be read.
    """
    if not _URL.match(str(text)):
        return Path(text)
    from facemill.manifests.remote import local_folder

    return local_folder(str(text), whole=whole)


def whole_dataset(text: Any) -> Path:
    """As `dataset_folder`, for commands that look at more than samples."""
    return dataset_folder(text, whole=True)


def free_file(path: Path, *, overwrite: bool = False, is_own: Callable[[Path], bool] = lambda path: False) -> Path:
    """Check, before any work, that a file may be written: it is new, or an earlier output of the same command.

    Args:
        overwrite: whether the user allows replacing it.
        is_own: whether an existing file was written by the same command.

    Raises:
        ConfigError: if it may not be written.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, but a file is to be written: give a file name.")
    if path.exists() and not (path.is_file() and is_own(path)):
        raise ConfigError(f"{path} exists and was not written by this command: choose another --out.")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists: pass --overwrite to replace it, or choose another --out.")
    _check_writable(path.parent)
    return path


def free_folder(path: Path, *, overwrite: bool = False, is_own: Callable[[Path], bool]) -> Path:
    """Check, before any work, that a folder may be written to: it is new, empty, or an output of the same command.

    Raises:
        ConfigError: if it may not be written to.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file, but a folder is to be written: choose another --out.")
    if path.is_dir() and any(path.iterdir()):
        if not is_own(path):
            raise ConfigError(f"{path} contains files that this command did not write: choose another --out.")
        if not overwrite:
            raise ConfigError(f"{path} has an earlier run: pass --overwrite to replace it, or choose another --out.")
    _check_writable(path)
    return path


def free_names(
    folder: Path, pattern: str, *, overwrite: bool = False, is_own: Callable[[Path], bool] = lambda path: False
) -> Path:
    """Check, before any work, that files of such names may be written to a folder; its other files stay untouched.

    Args:
        pattern: a glob that matches the files, including those in subfolders.
        is_own: whether an existing file was written by the same command.

    Raises:
        ConfigError: if they may not be written.
    """
    taken = [*folder.rglob(pattern)]
    for path in taken:
        if not (path.is_file() and is_own(path)):
            raise ConfigError(f"{path} exists and was not written by this command: choose another --out.")
    return free_folder(folder, overwrite=overwrite or not taken, is_own=lambda folder: True)


def _check_writable(folder: Path) -> None:
    """Check the folder, or its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} is not writable: choose another --out.")
