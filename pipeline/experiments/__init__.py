"""The rows of the papers' tables as named sets of options, with the papers' results.

This folder has a YAML file per paper. It holds only the paper's results; `facemill experiments run` prints them
next to the measured ones.
"""

from facemill.pipeline.experiments.run import run_experiment
from facemill.pipeline.experiments.tables import Experiment, all_experiments, find_experiment

__all__ = ["Experiment", "all_experiments", "find_experiment", "run_experiment"]
