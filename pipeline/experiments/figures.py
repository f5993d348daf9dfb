"""The figures that the papers print, and the sources of data that they name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import pyarrow.compute as pc
import yaml

from facemill import ConfigError
from facemill.manifests.scanning.scan_report import ALL_FAKES
from facemill.pipeline.config.sections import Settings
from facemill.registry import DATASETS, nearest

__all__ = ["CORRUPTIONS", "Figure", "Source", "find_source", "parse_figures"]

CORRUPTIONS = ("contrast", "saturation", "compression")
_METRICS = {"ACC": "acc", "AUC": "auc", "EER": "eer", "log-loss": "log_loss"}
_SIZES = {"parameters M": "parameters", "MACs G": "macs", "FLOPs G": "flops", "added parameters k": "added_parameters"}
_MEASURED = re.compile(
    rf"(?P<source>.+?)(?: (?P<corruption>{'|'.join(CORRUPTIONS)}|average) level (?P<severity>[1-5]))?"
    rf"(?: (?P<unit>video))? (?P<metric>{'|'.join(_METRICS)})"
)


class Source(Settings):
    """What a row is trained or tested on."""

    data: str
    """Name of a dataset, as for `facemill scan`."""
    quality: str = "native"
    methods: tuple[str, ...] = ()
    """Forgery methods that are used beside the reals; none for all."""
    split: str = "official"
    """How videos are split, as for `facemill scan --split`."""

    def uses(self, method: str) -> bool:
        """Whether videos of a method, or reals, belong to the source."""
        return method == "real" or not self.methods or method in self.methods

    def rows(self) -> pc.Expression:
        """What holds for the rows of a table, with columns quality and method, that belong to the source."""
        from facemill.pipeline.data.split import chosen_rows  # imported late: torch takes seconds

        return chosen_rows(self.methods, qualities=(self.quality,))

    def without(self, method: str) -> "Source":
        return self.model_copy(update={"methods": tuple(one for one in self.all_methods if one != method)})

    @property
    def all_methods(self) -> tuple[str, ...]:
        """The names of its forgery methods; those that the dataset's authors published, if the source has all."""
        published = {key[1] for key in DATASETS[self.data].published} - {"real", ALL_FAKES}
        return self.methods or tuple(sorted(published))

    def __str__(self) -> str:
        methods = f" ({', '.join(self.methods)})" if self.methods else ""
        return f"{self.data} {self.quality}{methods}"


@dataclass(frozen=True)
class Figure:
    """A figure that a paper prints.

    Attributes:
        label: source, corruption, unit and metric, such as `FF++ c23 contrast level 1 AUC`, or a size.
        paper: the paper's value: percent, but for log loss and sizes; None for a figure that it does not print.
        metric: a metric of `facemill.pipeline.evaluate.metrics.compute_metrics`, or `parameters`, `macs`, `flops` or
            `added_parameters`.
        source: what is tested; None for sizes and means.
        unit: `frame` or `video`.
        corruption, severity: of the test images.
        parts: the figures that it is the mean of.
    """

    label: str
    paper: float | None
    metric: str
    source: Source | None = None
    unit: str = "frame"
    corruption: str = "none"
    severity: int = 0
    parts: tuple["Figure", ...] = ()

    @property
    def tested(self) -> tuple["Figure", ...]:
        """The figures to measure: itself or its parts, none for a size."""
        return self.parts or ((self,) if self.source is not None else ())


def parse_figures(printed: Mapping[str, float]) -> tuple[Figure, ...]:
    """Parse a row's figures by label. `mean AUC` is the mean of the row's others.

    Raises:
        ConfigError: for a label that does not follow the rule, or an unknown source.
    """
    figures = {label: _parse(label, value) for label, value in printed.items() if not label.startswith("mean ")}
    means = {
        label: Figure(label, value, metric, parts=tuple(one for one in figures.values() if one.metric == metric))
        for label, value in printed.items()
        if label not in figures and (metric := _METRICS[label.removeprefix("mean ")])
    }
    return tuple((figures | means)[label] for label in printed)


def _parse(label: str, paper: float) -> Figure:
    if label in _SIZES:
        return Figure(label, paper, _SIZES[label])
    match = _MEASURED.fullmatch(label)
    if match is None:
        raise ConfigError(f"{label!r} is no figure: write SOURCE [CORRUPTION level N] [video] METRIC.")
    source, metric, unit = find_source(match["source"]), _METRICS[match["metric"]], match["unit"] or "frame"
    severity = int(match["severity"] or 0)
    if match["corruption"] == "average":
        parts = tuple(Figure(f"{label}, {c}", paper, metric, source, unit, c, severity) for c in CORRUPTIONS)
        return Figure(label, paper, metric, parts=parts)
    return Figure(label, paper, metric, source, unit, match["corruption"] or "none", severity)


def find_source(name: str) -> Source:
    """Find a source of `sources.yaml` by name; `NAME METHOD` is the source with that method alone.

    Raises:
        ConfigError: if there is none of that name.
    """
    known = _sources()
    if name in known:
        return known[name]
    base, _, method = name.rpartition(" ")
    if base in known and method in {published[1] for published in DATASETS[known[base].data].published} - {"real"}:
        return known[base].model_copy(update={"methods": (method,)})
    raise ConfigError(f"There is no source {name!r}{nearest(name, known)}: see pipeline/experiments/sources.yaml.")


@cache
def _sources() -> dict[str, Source]:
    text = resources.files("facemill.pipeline.experiments").joinpath("sources.yaml").read_text("utf-8")
    return {name: Source.model_validate(values) for name, values in yaml.safe_load(text).items()}
