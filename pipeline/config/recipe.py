"""Recipes: every setting that determines the bytes of a dataset, in one YAML file.

A recipe is a frozen pydantic model. An unknown key is rejected with the nearest known one, and the
resolved recipe is saved with the dataset.
"""

import reprlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from facemill import ConfigError
from facemill.options import check_options
from facemill.pipeline.config.sections import (
    CropSettings,
    DecodeSettings,
    DetectSettings,
    EncodeSettings,
    FilterSettings,
    LabelSettings,
    MaskSettings,
    SampleSettings,
    Settings,
    ShardSettings,
    TrackSettings,
)
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.registry import ANNOTATORS, FACE_DETECTORS, FILTERS, SHARD_FORMATS, nearest

__all__ = ["Recipe", "available_recipes", "load_recipe", "parse_recipe"]

LONGEST_PAGE = 1 << 16  # characters; parsing YAML takes seconds per megabyte
_WITH_OPTIONS = ("detect", "filter.more", "filter=", "annotate")
"""Prefixes of overrides that can set options of detectors, filters and annotators."""
_PAGES = resources.files("facemill.pipeline.config") / "recipes"


class Recipe(Settings):
    """All settings that, together with a manifest, determine the bytes of a dataset; and the training settings."""

    name: str
    """Shown in the dataset card."""
    paper: str | None = None
    """Publication whose preprocessing the recipe follows."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Seed of random frames and of the distribution over shards."""
    decode: DecodeSettings = DecodeSettings()
    sample: SampleSettings = SampleSettings()
    detect: DetectSettings = DetectSettings()
    track: TrackSettings = TrackSettings()
    label: LabelSettings = LabelSettings()
    crop: CropSettings = CropSettings()
    mask: MaskSettings = MaskSettings()
    filter: FilterSettings = FilterSettings()
    annotate: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Additional outputs per sample: annotator options by name in `registry.ANNOTATORS`."""
    encode: EncodeSettings = EncodeSettings()
    shards: ShardSettings = ShardSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _steady_crops_are_of_runs(self) -> "Recipe":
        if self.crop.steady and self.sample.strategy != "runs":
            raise ValueError("'crop.steady' is one crop for each run of frames, so it needs 'sample.strategy: runs'")
        return self

    def build_values(self) -> dict[str, Any]:
        """The settings that determine a dataset's bytes, as plain values: everything but `train`."""
        return self.model_dump(mode="json", exclude={"train"})

    def work_values(self) -> dict[str, Any]:
        """`build_values` without the settings that may differ between runs of one build."""
        sections = {name: value for name, value in self if name != "train"}
        return {
            name: value.deciding_values() if isinstance(value, Settings) else value for name, value in sections.items()
        }


def available_recipes() -> list[str]:
    """Names of the built-in recipes, sorted."""
    pages = _PAGES.iterdir()
    return sorted(page.name.removesuffix(".yaml") for page in pages if page.name.endswith(".yaml"))


def load_recipe(
    name_or_path: str | Path, overrides: Iterable[str] = (), *, purpose: Literal["build", "train"] | None = None
) -> Recipe:
    """Read a recipe by name or from a YAML file, then apply `section.key=value` overrides.

    Overrides apply in any order; if a key is given twice, the last value is used.

    Examples:
        >>> facemill.load_recipe("lrl", ["crop.size=224"]).crop.size
        224

    Args:
        purpose: `build` rejects overrides of `train`; `train` rejects overrides of anything but `train` and `seed`.

    Raises:
        ConfigError: for an unknown recipe, key or value, or an override that belongs to the other command.
    """
    values = _parse_yaml(_recipe_text(str(name_or_path)), f"The recipe {name_or_path}")
    if not isinstance(values, dict):
        raise ConfigError(f"The recipe {name_or_path} is not a YAML mapping of settings.")
    overrides = sorted(overrides, key=_rank)
    for override in overrides:
        _refuse_foreign(override, purpose)
        _apply(values, override)
    recipe = parse_recipe(values)
    FACE_DETECTORS.check(recipe.detect.detector)
    SHARD_FORMATS.check(recipe.shards.format)
    for name in recipe.filter.more:
        FILTERS.check(name)
    for name in recipe.annotate:
        ANNOTATORS.check(name)
    own = str(name_or_path) not in available_recipes() or any(each.startswith(_WITH_OPTIONS) for each in overrides)
    if purpose == "build" and own:
        _check_options(recipe)
    return recipe


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """Validate a mapping of settings and return it as a `Recipe`.

    Raises:
        ConfigError: naming the first bad key or value.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _check_options(recipe: Recipe) -> None:
    """Reject invalid options before any work; this imports the detector and filters, which may need torch.

    Raises:
        ConfigError: for an unknown option or value.
    """
    for name, options in recipe.filter.more.items():
        check_options(f"filter.more.{name}", FILTERS[name].options_type, options)
    for name, options in recipe.annotate.items():
        check_options(f"annotate.{name}", ANNOTATORS[name].options_type, options)
    detect, kind = recipe.detect, FACE_DETECTORS[recipe.detect.detector]
    check_options(f"detect.options of {detect.detector}", kind.options_type, detect.options)
    if detect.variant is not None and detect.variant not in kind.variants:
        known = f"use one of {', '.join(kind.variants)}" if kind.variants else "omit it"
        raise ConfigError(f"{detect.detector} has no variant {detect.variant!r}: {known}.")


def _parse_yaml(text: str, what: str) -> Any:
    if len(text) > LONGEST_PAGE:
        raise ConfigError(f"{what} is too long for a recipe: {len(text)} characters.")
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date, for example
        raise ConfigError(f"{what} is not valid YAML: {' '.join(str(error).split())}.") from None


class _StrictLoader(yaml.SafeLoader):
    """Rejects duplicate keys, and aliases, with which a short file can expand without bound."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed in a recipe", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for (key, _), name in zip(node.value, names, strict=False):
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} appears twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _recipe_text(name_or_path: str) -> str:
    names = available_recipes()
    if name_or_path in names:
        return _PAGES.joinpath(f"{name_or_path}.yaml").read_text("utf-8")
    path = Path(name_or_path)
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as page:
            return page.read(LONGEST_PAGE + 1)
    hint = nearest(name_or_path, names)
    raise ConfigError(
        f"There is no recipe or recipe file {name_or_path!r}{hint}: use a YAML file or one of {', '.join(names)}."
    )


def _rank(override: str) -> tuple[int, bool]:
    """Sort key: sections before the keys in them, and a strategy before its options, which it clears."""
    dotted = override.partition("=")[0].strip()
    return dotted.count("."), not dotted.endswith(".strategy")


def _refuse_foreign(override: str, purpose: Literal["build", "train"] | None) -> None:
    """Reject a setting that the command would silently ignore."""
    dotted = override.partition("=")[0].strip()
    section = dotted.partition(".")[0]
    if purpose == "build" and section == "train":
        raise ConfigError(f"{dotted!r} affects training, not a dataset's bytes: pass it to `facemill train`.")
    if purpose == "train" and section not in ("train", "seed") and section in Recipe.model_fields:
        raise ConfigError(f"{dotted!r} affects a dataset's bytes, not training: pass it to `facemill build`.")


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `section.key=value`; the value is parsed as YAML, so that `null` and `true` work."""
    dotted, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r} is not an override: write section.key=value, such as crop.size=380.")
    *sections, key = dotted.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{dotted!r} is not a key of a section: see `facemill recipes` for the keys.")
    if key == "strategy":
        values.clear()  # the old strategy's options do not apply to the new one
    values[key] = _parse_yaml(text, f"The override {override!r}")


def _explain(error: ValidationError) -> str:
    faults = error.errors()
    first = faults[0]
    location, section = _keys_of(first["loc"])
    dotted = ".".join(location) or "the recipe"
    if first["type"] == "extra_forbidden":
        known = list(section.model_fields)
        hint = nearest(location[-1], known)
        return f"Unknown recipe key {dotted!r}{hint}: known keys here are {', '.join(known)}."
    alike = [fault for fault in faults if _keys_of(fault["loc"])[0] == location]
    messages = [fault["msg"].removeprefix("Value error, ") for fault in alike]
    return f"Recipe key {dotted!r} is invalid: {', or '.join(messages)}, got {reprlib.repr(first['input'])}."


def _keys_of(location: Iterable[int | str]) -> tuple[list[str], type[BaseModel]]:
    """Keys of an error's location, without the union member that pydantic appends below a value; and their section."""
    model: type[BaseModel] = Recipe
    keys: list[str] = []
    for part in map(str, location):
        keys.append(part)
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return keys, model
