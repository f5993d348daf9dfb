"""Where commands read and write: local paths only, and nothing is replaced but what the same command has written."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from facemill import ConfigError

__all__ = ["Overwrite", "free_file", "free_folder", "free_names", "local_path"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

Overwrite = typer.Option("--overwrite", help="Replace what an earlier run of this command wrote there.")


def local_path(text: Any) -> Path:
    """Parse an argument that must be a path on this machine: `typer.Option(parser=local_path)`.

    Raises:
        ConfigError: for a URL, of which a folder `s3:` would be made.
    """
    if _URL.match(str(text)):
        raise ConfigError(f"{text} is a URL, and here only a path on this machine works: mount it, or copy it.")
    return Path(text)


def free_file(path: Path, *, overwrite: bool = False, is_own: Callable[[Path], bool] = lambda path: False) -> Path:
    """See, before any work, that a file may be written: it is new, or what the same command wrote.

    Args:
        overwrite: whether the user has said so.
        is_own: whether the command has written what is there; asked only where something is.

    Raises:
        ConfigError: if it may not.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, and a file is to be written: give its name.")
    if path.exists() and not (path.is_file() and is_own(path)):
        raise ConfigError(f"{path} exists, and this command has not written it: choose another --out.")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists: pass --overwrite to replace it, or choose another --out.")
    _check_writable(path.parent)
    return path


def free_folder(path: Path, *, overwrite: bool = False, is_own: Callable[[Path], bool]) -> Path:
    """See, before any work, that a folder may be written to: it is new or empty, or the same command's.

    Raises:
        ConfigError: if it may not.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file, and a folder is to be written: choose another --out.")
    if path.is_dir() and any(path.iterdir()):
        if not is_own(path):
            raise ConfigError(f"{path} holds other things than this command writes: choose another --out.")
        if not overwrite:
            raise ConfigError(f"{path} holds an earlier run: pass --overwrite to replace it, or choose another --out.")
    _check_writable(path)
    return path


def free_names(folder: Path, pattern: str, *, overwrite: bool = False) -> Path:
    """See, before any work, that a folder may get files of such names; others that it holds stay as they are.

    Args:
        pattern: a glob that matches the files, also those in folders below.

    Raises:
        ConfigError: if it may not.
    """
    taken = any(folder.rglob(pattern))
    return free_folder(folder, overwrite=overwrite or not taken, is_own=lambda folder: True)


def _check_writable(folder: Path) -> None:
    """Look at the folder, or the nearest one above that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} cannot be written to: choose another --out.")
