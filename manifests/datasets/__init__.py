"""Dataset adapters: layout, names, pairs and splits of each dataset; registered in `registry.DATASETS`."""

from facemill.manifests.datasets.base import DatasetAdapter

__all__ = ["DatasetAdapter"]
