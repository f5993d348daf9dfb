"""Reading of the papers' tables from YAML files."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import Field

from facemill import ConfigError
from facemill.pipeline.config.settings import Settings
from facemill.registry import nearest

__all__ = ["Experiment", "all_experiments", "find_experiment"]

_PAGES = resources.files("facemill.pipeline.experiments")


class _Row(Settings):
    detector: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)
    trained_on: str | None = None
    tested_on: str | None = None
    robustness: bool = False
    paper: dict[str, float]


class _Table(Settings):
    caption: str
    trained_on: str
    tested_on: str | None = None
    rows: dict[str, _Row]


class _Page(Settings):
    paper: str
    tables: dict[str, _Table]


@dataclass(frozen=True)
class Experiment:
    """One row of a paper's table.

    Attributes:
        name: file/table/row, such as `lrl/table4/rgb-mpsm`.
        paper: title and venue.
        caption: what the table compares.
        detector: name of a forgery detector.
        recipe: name of the recipe that the row is based on.
        options: the detector's options that differ from its defaults.
        overrides: recipe values by dotted key that differ from the recipe's.
        trained_on, tested_on: descriptions of the datasets.
        robustness: whether it is also tested on corrupted images.
        figures: the paper's results by dataset and metric, in percent unless a loss.
    """

    name: str
    paper: str
    caption: str
    detector: str
    recipe: str
    options: dict[str, Any]
    overrides: dict[str, Any]
    trained_on: str
    tested_on: str
    robustness: bool
    figures: dict[str, float]

    def settings(self) -> list[str]:
        """The row as `section.key=value` overrides of its recipe; values are JSON, which is valid YAML."""
        values = {**self.overrides, **{f"train.model.{key}": value for key, value in self.options.items()}}
        return [f"{key}={json.dumps(value)}" for key, value in values.items()]

    def build_settings(self) -> list[str]:
        """The overrides that a dataset must have been built with."""
        return [setting for setting in self.settings() if not setting.startswith("train.")]

    def summary(self) -> str:
        """The paper's results on one line."""
        return ", ".join(f"{metric} {figure:g}" for metric, figure in self.figures.items())

    def lines(self) -> list[str]:
        """Description, and the commands that run it; `run` also evaluates, with corruptions if the row has them."""
        options = " ".join(f"--set '{setting}'" for setting in self.build_settings())
        built = f"facemill build videos.parquet --recipe {self.recipe} --out DATA {options}".rstrip()
        return [
            f"{self.name}: {self.caption} ({self.paper})",
            f"detector    {self.detector}",
            f"settings    {' '.join(self.settings()) or 'as the recipe says'}",
            f"trained on  {self.trained_on}",
            f"tested on   {self.tested_on}",
            *(f"paper       {metric}: {figure:g}" for metric, figure in self.figures.items()),
            f"build       {built}",
            f"run         facemill experiments run {self.name} DATA --out RUN",
            *(["evaluate    facemill evaluate RUN/run DATA --out EVALUATION --robustness"] if self.robustness else []),
        ]


@cache
def all_experiments() -> tuple[Experiment, ...]:
    """Every row of every paper, in the paper's order."""
    pages = sorted(page.name for page in _PAGES.iterdir() if page.name.endswith(".yaml"))
    return tuple(experiment for page in pages for experiment in _read(page.removesuffix(".yaml")))


def find_experiment(name: str) -> Experiment:
    """Find an experiment by name.

    Raises:
        ConfigError: if there is none of that name.
    """
    known = {experiment.name: experiment for experiment in all_experiments()}
    if name not in known:
        raise ConfigError(f"There is no experiment {name!r}{nearest(name, known)}: see `facemill experiments list`.")
    return known[name]


def _read(page: str) -> list[Experiment]:
    content = _Page.model_validate(yaml.safe_load(_PAGES.joinpath(f"{page}.yaml").read_text("utf-8")))
    return [
        Experiment(
            name=f"{page}/{table_name}/{row_name}",
            paper=content.paper,
            caption=table.caption,
            detector=row.detector or page,
            recipe=page,
            options=row.options,
            overrides=row.set,
            trained_on=row.trained_on or table.trained_on,
            tested_on=row.tested_on or table.tested_on or row.trained_on or table.trained_on,
            robustness=row.robustness,
            figures=row.paper,
        )
        for table_name, table in content.tables.items()
        for row_name, row in table.rows.items()
    ]
