"""Training forgery detectors on built datasets, on Lightning's `Trainer`."""

from facemill.pipeline.train.fit import TrainReport, train
from facemill.pipeline.train.run_folder import RunConfig, load_run

__all__ = ["RunConfig", "TrainReport", "load_run", "train"]
