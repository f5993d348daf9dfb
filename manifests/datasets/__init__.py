"""How each dataset lays out, names, pairs and splits its videos: an adapter for each, in `registry.DATASETS`."""

from facemill.manifests.datasets.base import DatasetAdapter

__all__ = ["DatasetAdapter"]
