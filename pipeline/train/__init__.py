"""Training of forgery detectors on built datasets, with Lightning Fabric."""

from facemill.pipeline.train.fit import TrainResult, train
from facemill.pipeline.train.run_folder import RunConfig, load_run

__all__ = ["RunConfig", "TrainResult", "load_run", "train"]
