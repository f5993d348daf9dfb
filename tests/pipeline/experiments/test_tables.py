"""Every row of the papers' tables must be a set of options that can be run."""

import re
from statistics import fmean

import pytest
import timm

from facemill import ConfigError
from facemill.detectors.forgery import options_of
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.evaluate.corruptions import all_corruptions
from facemill.pipeline.experiments import Experiment, all_experiments, find_experiment, select_experiments
from facemill.pipeline.experiments.figures import CORRUPTIONS, Source, parse_figures
from facemill.registry import DATASETS

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
    shares = [figure for figure in experiment.figures if figure.tested and figure.metric != "log_loss"]
    assert all(0 <= figure.paper <= 100 for figure in shares)
    assert experiment.trained_on
    for source in (*experiment.sources, *(figure.source for figure in experiment.tested)):
        known = {method for data, method, _ in DATASETS[source.data].published if data == source.data}
        assert set(source.methods) <= known


def test_the_rows_of_degraded_images_name_all_corruptions_at_all_levels() -> None:
    degraded = {(f.corruption, f.severity) for e in EXPERIMENTS for f in e.tested if f.severity}
    assert degraded == {(one.name, one.severity) for one in all_corruptions(CORRUPTIONS)}
    assert {e.name.partition("/table6")[0] for e in EXPERIMENTS for f in e.tested if f.severity} == {"etd"}


def test_printed_means_are_those_of_their_parts() -> None:
    """Of the figures that the papers print themselves: so we average what they averaged."""
    means = [figure for e in EXPERIMENTS for figure in e.figures if figure.parts and figure.label.startswith("mean")]
    assert len(means) == 8
    for figure in means:
        assert figure.paper == pytest.approx(
            fmean(part.paper for part in figure.parts), abs=0.011
        )  # some are cut off, not rounded
    rows = [find_experiment(f"etd/table6/{name}") for name in CORRUPTIONS]
    for level, average in enumerate(find_experiment("etd/table6/average").figures):
        printed = [row.figures[level].paper for row in rows]
        assert average.paper == pytest.approx(fmean(printed), abs=0.1)
        assert [part.corruption for part in average.parts] == list(CORRUPTIONS)


def test_targets_are_papers_tables_and_rows() -> None:
    names = [one.name for one in select_experiments(["etd/table2/dfdc", "mat/table4", "mat"])]
    assert names == ["etd/table2/dfdc", *(one.name for one in EXPERIMENTS if one.name.startswith("mat/"))]
    assert [one.name for one in select_experiments(["etd/table1"])][-1] == "etd/table1/dfdc"
    assert select_experiments(["all"]) == list(EXPERIMENTS)
    with pytest.raises(ConfigError, match="There is no experiment 'etd/table22'"):
        select_experiments(["etd/table22"])


@pytest.mark.parametrize("label", ["FF++ c23", "FF++ c23 F1", "FF++ c99 AUC", "FF++ c23 Swap AUC", "blur level 1 AUC"])
def test_a_label_that_follows_no_rule_is_refused(label: str) -> None:
    with pytest.raises(ConfigError):
        parse_figures({label: 1.0})


def test_a_label_says_what_is_tested() -> None:
    [plain, degraded, video] = parse_figures(
        {"FF++ c40 Deepfakes ACC": 1.0, "FF++ c23 contrast level 2 AUC": 1.0, "DFDC video log-loss": 1.0}
    )
    assert plain.source == Source(data="ffpp", quality="c40", methods=("Deepfakes",))
    assert (plain.metric, plain.unit, plain.corruption, plain.severity) == ("acc", "frame", "none", 0)
    assert (degraded.corruption, degraded.severity, degraded.metric) == ("contrast", 2, "auc")
    assert (video.unit, video.metric, video.source) == ("video", "log_loss", Source(data="dfdc"))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    name = EXPERIMENTS[0].name
    with pytest.raises(ConfigError, match=f"did you mean '{re.escape(name)}"):
        find_experiment(name + "x")
