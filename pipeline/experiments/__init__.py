"""The rows of the papers' tables as named sets of options, with the papers' figures beside them.

A page per paper lies in this folder. No figure of ours is in them: a row says what the paper printed, and
`facemill experiments run` prints beside it what came out here.
"""

from facemill.pipeline.experiments.run import run_experiment
from facemill.pipeline.experiments.tables import Experiment, all_experiments, find_experiment

__all__ = ["Experiment", "all_experiments", "find_experiment", "run_experiment"]
