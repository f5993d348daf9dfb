"""What the bytes of a build may depend on, beside the videos' own: what must not change between its runs."""

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import av

from facemill import __version__
from facemill.manifests import VideoEntry
from facemill.pipeline.config.recipe import Recipe

__all__ = ["VERSIONED", "identity_of", "versions"]

VERSIONED = (
    "decord",
    "facenet-pytorch",
    "numpy",
    "opencv-contrib-python-headless",
    "pyarrow",
    "retina-face",
    "torch",
    "torchvision",
)
"""Packages, beside PyAV, whose version may show in the pixels or the files."""


def identity_of(entries: Sequence[VideoEntry], recipe: Recipe) -> dict[str, Any]:
    """What must not change between the runs of one build, since it may show in the bytes."""
    videos = hashlib.sha256()
    for entry in entries:
        videos.update(repr(replace(entry, root="")).encode())  # a root that has moved holds the same videos still
    return {
        "recipe": recipe.work_values(),
        "manifest": videos.hexdigest(),
        "weights file": recipe.detect.weights_digest(),
        "version of facemill or its libraries": {"facemill": __version__, **versions()},
    }


def versions() -> dict[str, str]:
    """Versions of whatever may show in the pixels, for dataset.json."""
    found = {name: metadata.version(name) for name in VERSIONED}
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    found |= {"av": av.__version__, "libavcodec": libavcodec}
    return found | {"python": platform.python_version()}
