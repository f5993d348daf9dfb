"""Training forgery detectors on built datasets, on Lightning's `Trainer`."""

from pipeline.train.fit import TrainReport, train
from pipeline.train.run_folder import RunConfig, load_run

__all__ = ["RunConfig", "TrainReport", "load_run", "train"]
