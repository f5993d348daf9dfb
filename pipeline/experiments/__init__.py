"""The rows of the papers' tables as named sets of options, with the papers' figures, and their reproduction.

This folder has a YAML file per paper, and one of the data that they name. They hold only the papers' figures;
`facemill reproduce` sets the measured ones beside them.
"""

from facemill.pipeline.experiments.tables import Experiment, all_experiments, find_experiment, select_experiments

__all__ = ["Experiment", "all_experiments", "find_experiment", "select_experiments"]
