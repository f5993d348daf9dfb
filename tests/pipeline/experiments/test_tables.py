"""Every row of the papers' tables must be a set of options that can be run."""

import re

import pytest
import timm

from facemill import ConfigError
from facemill.detectors.forgery import options_of
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.evaluate.corruptions import LEVELS
from facemill.pipeline.experiments import Experiment, all_experiments, find_experiment

EXPERIMENTS = all_experiments()
every = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)


def test_every_paper_has_its_tables() -> None:
    tables = {tuple(experiment.name.split("/")[:2]) for experiment in EXPERIMENTS}
    ablations = {("lrl", "table4"), ("mat", "table5"), ("sola", "table6"), ("sia", "table6"), ("etd", "table4")}
    assert ablations <= tables


def test_names_are_unique() -> None:
    names = [experiment.name for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)


@every
def test_a_row_is_options_that_its_detector_and_recipe_know(experiment: Experiment) -> None:
    assert re.fullmatch(r"[a-z0-9_]+/[a-z0-9_-]+/[a-z0-9_.+-]+", experiment.name)
    recipe = load_recipe(experiment.recipe, experiment.settings())
    assert options_of(experiment.detector, experiment.options)
    assert recipe.train.model.items() >= experiment.options.items()


@every
def test_a_row_s_backbone_names_weights_of_imagenet_alone(experiment: Experiment) -> None:
    backbone = options_of(experiment.detector, experiment.options).backbone
    assert backbone in timm.list_pretrained()
    assert re.search(r"\.(aa|ap|ra|ra4_e3600_r224|tf|tv)_in1k$", backbone)


@every
def test_a_row_says_what_the_paper_measured(experiment: Experiment) -> None:
    assert experiment.figures
    assert all(0 <= figure <= 100 for figure in experiment.figures.values())
    assert experiment.trained_on
    assert experiment.tested_on


def test_the_rows_of_degraded_pictures_ask_for_them() -> None:
    asking = {experiment.name for experiment in EXPERIMENTS if experiment.robustness}
    assert asking == {f"etd/table6/{name}" for name in ("contrast", "saturation", "compression")}
    assert set(LEVELS) == {name.rpartition("/")[2] for name in asking}


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    name = EXPERIMENTS[0].name
    with pytest.raises(ConfigError, match=f"did you mean '{re.escape(name)}"):
        find_experiment(name + "x")
