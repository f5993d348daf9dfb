"""Dataset adapters by name: how each dataset lays out, names, pairs and splits its videos.

A dataset is one module with one class, registered at the end of this one; its tree of names in
`tests/manifests/dataset_trees.py` brings it under the contract tests.
"""

import difflib

from facemill import ConfigError
from facemill.manifests.datasets.base import DatasetAdapter
from facemill.manifests.datasets.celebdf1 import CelebDF1
from facemill.manifests.datasets.celebdf2 import CelebDF2
from facemill.manifests.datasets.csv_file import CsvFile
from facemill.manifests.datasets.dfd import DeepFakeDetection
from facemill.manifests.datasets.dfdc import DFDC
from facemill.manifests.datasets.dfdcp import DFDCPreview
from facemill.manifests.datasets.ffpp import FaceForensics
from facemill.manifests.datasets.wild import WildDeepfake

__all__ = ["DatasetAdapter", "available", "get", "register"]

_ADAPTERS: dict[str, DatasetAdapter] = {}


def register(adapter: DatasetAdapter) -> None:
    """Make an adapter known by its name.

    Raises:
        ConfigError: the name is taken.
    """
    if adapter.name in _ADAPTERS:
        raise ConfigError(f"There is a dataset adapter {adapter.name!r} already: give the new one another name.")
    _ADAPTERS[adapter.name] = adapter


def available() -> list[str]:
    """Names of the datasets that can be scanned, sorted."""
    return sorted(_ADAPTERS)


def get(name: str) -> DatasetAdapter:
    """The adapter of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _ADAPTERS:
        close = difflib.get_close_matches(name, available(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"There is no dataset {name!r}{hint}: known are {', '.join(available())}.")
    return _ADAPTERS[name]


for _adapter in (
    FaceForensics(),
    DeepFakeDetection(),
    CelebDF1(),
    CelebDF2(),
    DFDC(),
    DFDCPreview(),
    WildDeepfake(),
    CsvFile(),
):
    register(_adapter)
