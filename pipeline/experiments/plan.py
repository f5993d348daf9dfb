"""The least work that measures a set of rows: each build, training and evaluation once, for all rows that use it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from facemill.detectors.forgery import options_of
from facemill.pipeline.config.recipe import Recipe, load_recipe
from facemill.pipeline.experiments.figures import Figure, Source
from facemill.pipeline.experiments.tables import Experiment

__all__ = ["Evaluation", "Plan", "Training", "Wanted", "make_plan"]


@dataclass(frozen=True, order=True)
class Wanted:
    """A dataset as a row wants it built: all methods of a quality of a `Source`, under a recipe with overrides."""

    data: str
    quality: str
    split: str
    recipe: str
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its folder."""
        plain = f"{self.recipe}-{self.data}-{self.quality}"
        usual = self.split == "official" and not self.settings
        return plain if usual else f"{plain}-{_digest(self.split, self.settings)}"

    def load(self) -> Recipe:
        return load_recipe(self.recipe, self.settings, purpose="build")


@dataclass(frozen=True)
class Training:
    """A training run; equal ones of several rows are one.

    Attributes:
        name: the detector, a digest of all that determines the run, and the seed: name of its folder.
        settings: overrides of the recipe's `train` section, and the seed.
        data: what it is trained on, each with the dataset to take it from.
    """

    name: str
    detector: str
    recipe: str
    settings: tuple[str, ...]
    data: tuple[tuple[Wanted, Source], ...]

    def load(self) -> Recipe:
        return load_recipe(self.recipe, self.settings, purpose="train")


@dataclass(frozen=True, order=True)
class Evaluation:
    """The scores of a training's network on the test split of a dataset: all methods at once."""

    training: str
    wanted: Wanted

    @property
    def name(self) -> str:
        """Name of its folder, below that of all evaluations."""
        return f"{self.training}/{self.wanted.name}"


@dataclass
class Plan:
    """What measures a set of rows.

    Attributes:
        experiments: the rows.
        overrides: recipe values that are not the papers', for all rows.
        trainings: by name.
        runs: names of a row's trainings, one a seed; none for a row that trains nothing.
        tests: sources that are tested, by evaluation; the rows that share one may test different methods.
        corrupted: evaluations that need corrupted images too.
    """

    experiments: Sequence[Experiment]
    overrides: tuple[str, ...]
    trainings: dict[str, Training] = field(default_factory=dict)
    runs: dict[str, list[str]] = field(default_factory=dict)
    tests: dict[Evaluation, set[Source]] = field(default_factory=dict)
    corrupted: set[Evaluation] = field(default_factory=set)

    def evaluation(self, experiment: Experiment, training: str, figure: Figure) -> Evaluation:
        assert figure.source is not None
        return Evaluation(training, _wanted(experiment, figure.source, self.overrides))

    def wanted(self) -> list[Wanted]:
        """The datasets that are needed, sorted."""
        trained = {wanted for training in self.trainings.values() for wanted, _ in training.data}
        return sorted(trained | {evaluation.wanted for evaluation in self.tests})


def make_plan(experiments: Sequence[Experiment], *, seeds: int = 1, overrides: Iterable[str] = ()) -> Plan:
    """Plan rows; nothing is read but recipes and options.

    Args:
        seeds: trainings of each row, with seeds from that of the recipe on.
        overrides: recipe values, as `section.key=value`, applied after the rows'.

    Raises:
        ConfigError: for an unknown setting or option.
    """
    plan = Plan(experiments, tuple(overrides))
    for experiment in experiments:
        trainings = _trainings(experiment, seeds, plan.overrides) if experiment.sources else []
        plan.trainings |= {one.name: plan.trainings.get(one.name, one) for one in trainings}
        plan.runs[experiment.name] = [one.name for one in trainings]
        for training in trainings:
            for figure in experiment.tested:
                evaluation = plan.evaluation(experiment, training.name, figure)
                plan.tests.setdefault(evaluation, set()).add(figure.source)  # type: ignore[arg-type]  # tested: not None
                if figure.severity:
                    plan.corrupted.add(evaluation)
    return plan


def _trainings(experiment: Experiment, seeds: int, overrides: Sequence[str]) -> list[Training]:
    chosen = [f"train.qualities={json.dumps(sorted({source.quality for source in experiment.sources}))}"]
    if all(source.methods for source in experiment.sources):
        methods = sorted({method for source in experiment.sources for method in source.methods})
        chosen.append(f"train.methods={json.dumps(methods)}")
    settings = tuple(one for one in (*experiment.settings(), *chosen, *overrides) if _of_training(one))
    recipe = load_recipe(experiment.recipe, settings, purpose="train")
    options = options_of(experiment.detector, recipe.train.model).model_dump(mode="json")
    values = recipe.train.model_dump(mode="json", exclude={"model"})
    data = tuple((_wanted(experiment, source, overrides), source) for source in experiment.sources)
    named = [(wanted.name, source.model_dump(mode="json")) for wanted, source in data]
    name = f"{experiment.detector}-{_digest(experiment.detector, options, values, named)}"
    return [
        Training(f"{name}-seed{seed}", experiment.detector, experiment.recipe, (*settings, f"seed={seed}"), data)
        for seed in range(recipe.seed, recipe.seed + seeds)
    ]


def _wanted(experiment: Experiment, source: Source, overrides: Sequence[str]) -> Wanted:
    settings = tuple(one for one in (*experiment.settings(), *overrides) if not _of_training(one))
    return Wanted(source.data, source.quality, source.split, experiment.recipe, settings)


def _of_training(override: str) -> bool:
    return override.partition("=")[0].strip().partition(".")[0] in ("train", "seed")


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
