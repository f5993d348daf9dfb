"""Reading of the papers' tables from YAML files."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import Field

from facemill import ConfigError
from facemill.pipeline.config.recipe import available_recipes
from facemill.pipeline.config.sections import Settings
from facemill.pipeline.experiments.figures import Figure, Source, find_source, parse_figures
from facemill.registry import nearest

__all__ = ["Experiment", "all_experiments", "find_experiment", "leave_one_out", "select_experiments"]

_PAGES = resources.files("facemill.pipeline.experiments")


class _Row(Settings):
    detector: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)
    train: str | list[str] | None = None
    paper: dict[str, float]


class _Table(Settings):
    caption: str
    note: str | None = None
    train: str | list[str]
    rows: dict[str, _Row]


class _Page(Settings):
    paper: str
    note: str | None = None
    tables: dict[str, _Table]


@dataclass(frozen=True)
class Experiment:
    """One row of a paper's table.

    Attributes:
        name: file/table/row, such as `lrl/table4/rgb-mpsm`.
        paper: title and venue.
        notes: what the paper leaves open, and other remarks on the page and the table.
        caption: what the table compares.
        detector: name of a forgery detector.
        recipe: name of the recipe that the row is based on.
        options: the detector's options that differ from its defaults.
        overrides: recipe values by dotted key that differ from the recipe's.
        trained_on: names of the sources that it is trained on.
        figures: the paper's figures.
        left_out: a method that it is not trained on, but tested.
    """

    name: str
    paper: str
    notes: tuple[str, ...]
    caption: str
    detector: str
    recipe: str
    options: dict[str, Any]
    overrides: dict[str, Any]
    trained_on: tuple[str, ...]
    figures: tuple[Figure, ...]
    left_out: str | None = None

    @property
    def table(self) -> str:
        """Name of the table, such as `lrl/table4`."""
        return self.name.rpartition("/")[0]

    @property
    def tested(self) -> tuple[Figure, ...]:
        """What is measured for its figures: parts in place of a mean, and no sizes."""
        return tuple(part for figure in self.figures for part in figure.tested)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What it is trained on; nothing if all of its figures are sizes."""
        found = map(find_source, self.trained_on if self.tested else ())
        return tuple(source if self.left_out is None else source.without(self.left_out) for source in found)

    def settings(self) -> list[str]:
        """The row as `section.key=value` overrides of its recipe; values are JSON, which is valid YAML."""
        values = {**self.overrides, **{f"train.model.{key}": value for key, value in self.options.items()}}
        return [f"{key}={json.dumps(value)}" for key, value in values.items()]

    def summary(self) -> str:
        """The paper's figures on one line."""
        return ", ".join(f"{figure.label} {figure.paper:g}" for figure in self.figures if figure.paper is not None)

    def lines(self) -> list[str]:
        """Description, and the command that runs it."""
        sources = (*self.sources, *(figure.source for figure in self.tested))
        needed = dict.fromkeys(source.data for source in sources if source is not None)
        data = " ".join(f"--root {name}=DIR" for name in needed)
        return [
            f"{self.name}: {self.caption} ({self.paper})",
            f"detector    {self.detector}",
            f"settings    {' '.join(self.settings()) or 'as the recipe says'}",
            *([f"trained on  {', '.join(self.trained_on)}"] if self.sources else []),
            *(f"paper       {figure.label}: {figure.paper:g}" for figure in self.figures if figure.paper is not None),
            *(f"note        {note}" for note in self.notes),
            f"run         {f'facemill reproduce {self.name} {data}'.strip()} --out DIR",
        ]


@cache
def all_experiments() -> tuple[Experiment, ...]:
    """Every row of every paper, in the paper's order."""
    return tuple(experiment for page in available_recipes() for experiment in _read(page))


def find_experiment(name: str) -> Experiment:
    """Find an experiment by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    known = {experiment.name: experiment for experiment in all_experiments()}
    if name not in known:
        raise ConfigError(f"There is no experiment {name!r}{nearest(name, known)}: see `facemill experiments list`.")
    return known[name]


def select_experiments(targets: Iterable[str]) -> list[Experiment]:
    """The rows of papers (`etd`), tables (`etd/table2`), rows (`etd/table2/dfdc`) or `all`, in the papers' order.

    Raises:
        ConfigError: if a target is none of these.
    """
    chosen: set[str] = set()
    for target in targets:
        names = {one.name for one in all_experiments() if target == "all" or f"{one.name}/".startswith(f"{target}/")}
        chosen |= names or {find_experiment(target).name}
    return [one for one in all_experiments() if one.name in chosen]


def leave_one_out(experiments: Iterable[Experiment]) -> list[Experiment]:
    """In place of each row, those of one training for each of its methods: on the others, and tested on this one.

    Rows that are trained on fewer than two methods or on several datasets are left out, and of equal trainings all but
    the first.

    Raises:
        ConfigError: if no row is left.
    """
    made, trained = [], set()
    for one in experiments:
        key = (one.detector, one.recipe, *one.settings(), *one.trained_on)
        if len(one.sources) != 1 or len(one.sources[0].all_methods) < 2 or key in trained:
            continue
        trained.add(key)
        [source], [name] = one.sources, one.trained_on
        for method in source.all_methods:
            alone = source.model_copy(update={"methods": (method,)})
            figures = (
                Figure(f"{name} {method} AUC", None, "auc", alone),
                Figure(f"{name} {method} video AUC", None, "auc", alone, "video"),
            )
            notes = (*one.notes, "Each row is trained on all methods but one, and tested on that one.")
            row = f"{one.name}-without-{method}"
            made.append(dataclasses.replace(one, name=row, figures=figures, notes=notes, left_out=method))
    if not made:
        raise ConfigError("None of these rows is trained on several methods of one dataset: none can be left out.")
    return made


def _read(page: str) -> list[Experiment]:
    path = _PAGES.joinpath(f"{page}.yaml")
    if not path.is_file():
        return []
    content = _Page.model_validate(yaml.safe_load(path.read_text("utf-8")))
    return [
        Experiment(
            name=f"{page}/{table_name}/{row_name}",
            paper=content.paper,
            notes=tuple(note for note in (content.note, table.note) if note),
            caption=table.caption,
            detector=row.detector or page,
            recipe=page,
            options=row.options,
            overrides=row.set,
            trained_on=_listed(row.train or table.train),
            figures=parse_figures(row.paper),
        )
        for table_name, table in content.tables.items()
        for row_name, row in table.rows.items()
    ]


def _listed(names: str | list[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
