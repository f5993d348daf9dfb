"""Training of forgery detectors on built datasets, with Lightning Fabric."""

from facemill.pipeline.train.fit import TrainResult, train

__all__ = ["TrainResult", "train"]
