"""Turn raw deepfake video datasets into verified, training-ready face datasets.

The functions for notebooks (`facemill.build`, `facemill.train`, ...) are available here and imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facemill.errors import (
    ClusterError,
    ConfigError,
    DatasetError,
    DetectorError,
    FacemillError,
    ManifestError,
    VideoError,
)

if TYPE_CHECKING:
    from facemill.detectors.face import create as create_face_detector
    from facemill.detectors.forgery import create as create_forgery_detector
    from facemill.detectors.forgery import load_model
    from facemill.manifests import read_videos as read_manifest
    from facemill.manifests import scan
    from facemill.manifests import write_videos as write_manifest
    from facemill.manifests.checks.verify import verify
    from facemill.manifests.shards.summary import summarise as inspect
    from facemill.masks import difference_mask
    from facemill.pipeline.build import build
    from facemill.pipeline.config.recipe import load_recipe
    from facemill.pipeline.data import FaceDataset
    from facemill.pipeline.evaluate.evaluation import evaluate
    from facemill.pipeline.score import score
    from facemill.pipeline.train import train

    open_dataset = FaceDataset

__all__ = [
    "ClusterError",
    "ConfigError",
    "DatasetError",
    "DetectorError",
    "FacemillError",
    "ManifestError",
    "VideoError",
    "__version__",
    "build",
    "create_face_detector",
    "create_forgery_detector",
    "difference_mask",
    "evaluate",
    "inspect",
    "load_model",
    "load_recipe",
    "open_dataset",
    "read_manifest",
    "scan",
    "score",
    "train",
    "verify",
    "write_manifest",
]

__version__ = "0.1.0"

_PLACES = {
    "build": "pipeline.build.build",
    "create_face_detector": "detectors.face.create",
    "create_forgery_detector": "detectors.forgery.create",
    "difference_mask": "masks.difference_mask",
    "evaluate": "pipeline.evaluate.evaluation.evaluate",
    "inspect": "manifests.shards.summary.summarise",
    "load_model": "detectors.forgery.load_model",
    "load_recipe": "pipeline.config.recipe.load_recipe",
    "open_dataset": "pipeline.data.FaceDataset",
    "read_manifest": "manifests.read_videos",
    "scan": "manifests.scan",
    "score": "pipeline.score.score",
    "train": "pipeline.train.train",
    "verify": "manifests.checks.verify.verify",
    "write_manifest": "manifests.write_videos",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'facemill' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].rpartition(".")
    try:
        return getattr(import_module(f"facemill.{module}"), attribute)
    except ModuleNotFoundError as error:
        advice = f'facemill.{name} needs the package {error.name}: pip install "facemill[train]".'
        raise ModuleNotFoundError(advice, name=error.name) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
