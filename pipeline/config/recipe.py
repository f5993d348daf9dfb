"""Recipes: every choice that decides the bytes of a dataset, on one YAML page.

A recipe is a frozen pydantic model. An unknown key is refused with the nearest known one, and the
resolved recipe is saved beside the output it made.
"""

import reprlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from facemill import ConfigError
from facemill.manifests.storage import sha256_of
from facemill.options import check_options
from facemill.pipeline.config.settings import BYTES_STAY, Positive, Settings
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.registry import ANNOTATORS, FACE_DETECTORS, FILTERS, SHARD_FORMATS, nearest

__all__ = [
    "CropSettings",
    "DecodeSettings",
    "DetectSettings",
    "EncodeSettings",
    "FilterSettings",
    "LabelSettings",
    "MaskSettings",
    "Recipe",
    "SampleSettings",
    "ShardSettings",
    "TrackSettings",
    "available_recipes",
    "load_recipe",
    "parse_recipe",
]

LONGEST_PAGE = 1 << 16
"""Characters: reading YAML takes seconds for each megabyte."""
_WITH_OPTIONS = ("detect", "filter.more", "filter=", "annotate")
"""What overrides begin with that may set options of detectors and filters."""
_PAGES = resources.files("facemill.pipeline.config") / "recipes"


class DecodeSettings(Settings):
    """How videos are read."""

    backend: Literal["auto", "pyav", "decord"] = "auto"
    """`auto` is PyAV: the exact one, and the faster one in the project's own benchmark."""
    deinterlace: bool = False
    """Turn the two fields of interlaced pictures into one full picture; other files stay as they are. PyAV only."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400, json_schema_extra=BYTES_STAY)] = 120.0
    """Longest time in which the decoder may give no picture, in seconds, before the video is given up."""

    @model_validator(mode="after")
    def _decord_does_not_deinterlace(self) -> "DecodeSettings":
        if self.deinterlace and self.backend == "decord":
            raise ValueError("'deinterlace' needs 'backend: auto' or 'pyav'")
        return self


class SampleSettings(Settings):
    """Which frames of a clip group are used; chosen once for the real video and all its fakes."""

    strategy: Literal["uniform", "stride", "random", "all"] = "uniform"
    """`uniform`: `frames` evenly spaced; `stride`: every `every`-th; `random`: `frames` drawn by video id."""
    frames: Positive | None = None
    """Frames a video, for `uniform` and `random` (32 unless told)."""
    every: Positive | None = None
    """Step, for `stride`."""

    @model_validator(mode="before")
    @classmethod
    def _default_frames(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("strategy", "uniform") in ("uniform", "random"):
            return {"frames": 32, **values}
        return values

    @model_validator(mode="after")
    def _options_fit_the_strategy(self) -> "SampleSettings":
        counted = self.strategy in ("uniform", "random")
        if counted != (self.frames is not None) or (self.strategy == "stride") != (self.every is not None):
            raise ValueError("'uniform' and 'random' take 'frames', 'stride' takes 'every', 'all' takes neither")
        return self


class DetectSettings(Settings):
    """Which face detector looks at which frames."""

    detector: str = "mtcnn"
    """One of `registry.FACE_DETECTORS`."""
    variant: str | None = None
    """Such as the backbone of RetinaFace (`resnet50` unless told, or `mobilenet0.25`)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of this detector alone: see its `options_type`."""
    on: Literal["pristine", "each"] = "pristine"
    """`pristine`: fakes reuse the faces of their original; `each`: every video is looked at."""
    max_side: Positive | Literal["auto"] | None = "auto"
    """Frames whose longer side exceeds this are shrunk for detection; null for never. `auto`: as far as faces of
    `filter.min_face` are still found."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.9
    batch: Annotated[Positive, Field(json_schema_extra=BYTES_STAY)] = 32
    """Frames a forward pass, at most."""
    weights: Path | None = None
    """Weights file; null for the one that comes with, or is fetched by, the detector's package."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def weights_digest(self) -> str | None:
        """SHA-256 of the weights file; None where there is none."""
        return sha256_of(self.weights) if self.weights is not None and self.weights.is_file() else None


class TrackSettings(Settings):
    """Whose faces are kept."""

    keep: Literal["forged", "largest", "all"] = "forged"
    """`forged`: everybody in whom a fake differs from its original; `largest` where nothing tells who that is."""
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the sampled frames of its shot in which a face must be seen: less is taken for a false detection."""
    min_mean_score: Annotated[float, Field(ge=0, le=1)] = 0.93
    """Least mean detection score of a track."""
    drop_still: bool = True
    """Leave out faces that are still while others move: paintings and posters."""


class LabelSettings(Settings):
    """What becomes of a fake's faces that do not differ from the original."""

    unforged: Literal["drop", "keep_as_real", "keep_as_fake"] = "drop"
    """`keep_as_fake` gives them the label of their video, whatever they show."""


class CropSettings(Settings):
    """How a face is cut out; of sequences of pictures, which are crops already, only `size` applies."""

    size: Positive = 299
    """Side of the square crop, pixels."""
    scale: Annotated[float, Field(ge=1, le=16)] = 1.3
    """Side of the square around the face box (or mask box), as a multiple of its longer side."""
    align: Literal["none", "similarity"] = "none"
    """`similarity` turns and scales the face so that its five landmarks meet a template."""
    around: Literal["face", "mask"] = "face"
    """`mask` centres the square on the forged region where there is one."""


class MaskSettings(Settings):
    """How the forged region is found."""

    source: Literal["difference", "official", "both"] = "difference"
    """`both` stores the official mask and records its IoU with the difference."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = "auto"
    """`auto`: one smooth region, found at the face's scale above the pair's own noise; a number: each pixel whose luma
    difference / 255 exceeds it, as LRL has it (0.15), then opened, closed and filled."""
    open: Annotated[int, Field(ge=0, le=256)] = 1
    """Radius of the morphological opening, pixels; 0 for none."""
    close: Annotated[int, Field(ge=0, le=256)] = 2
    """Radius of the morphological closing, pixels; 0 for none."""
    fill_holes: bool = True


class FilterSettings(Settings):
    """Which faces are not worth keeping; each dropped one is counted with the reason."""

    min_face: Annotated[float, Field(ge=0, le=8192)] = 40.0
    """Shorter side of the face box, source pixels."""
    min_sharpness: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Variance of the Laplacian of the gray crop."""
    more: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of further filters, by their names in `registry.FILTERS`."""


class EncodeSettings(Settings):
    """How crops are stored; masks are always one-channel PNG."""

    format: Literal["png", "jpeg", "webp"] = "png"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Of JPEG and WebP."""


class ShardSettings(Settings):
    """What files the samples are written to."""

    format: str = "parquet"
    """One of `registry.SHARD_FORMATS`."""
    samples_per_shard: Positive = 1024


class Recipe(Settings):
    """Everything that, with a manifest, decides the bytes of a dataset."""

    name: str
    paper: str | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    decode: DecodeSettings = DecodeSettings()
    sample: SampleSettings = SampleSettings()
    detect: DetectSettings = DetectSettings()
    track: TrackSettings = TrackSettings()
    label: LabelSettings = LabelSettings()
    crop: CropSettings = CropSettings()
    mask: MaskSettings = MaskSettings()
    filter: FilterSettings = FilterSettings()
    annotate: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Further outputs of each sample: options by annotator, the names being those of `registry.ANNOTATORS`."""
    encode: EncodeSettings = EncodeSettings()
    shards: ShardSettings = ShardSettings()
    train: TrainSettings = TrainSettings()

    def build_values(self) -> dict[str, Any]:
        """What decides a dataset's bytes, as plain values: everything but `train`."""
        return self.model_dump(mode="json", exclude={"train"})

    def work_values(self) -> dict[str, Any]:
        """`build_values` without the settings that may differ between the runs of one build."""
        sections = {name: value for name, value in self if name != "train"}
        return {
            name: value.deciding_values() if isinstance(value, Settings) else value for name, value in sections.items()
        }


def available_recipes() -> list[str]:
    """Names of the recipes that come with facemill, sorted."""
    pages = _PAGES.iterdir()
    return sorted(page.name.removesuffix(".yaml") for page in pages if page.name.endswith(".yaml"))


def load_recipe(
    name_or_path: str | Path, overrides: Iterable[str] = (), *, purpose: Literal["build", "train"] | None = None
) -> Recipe:
    """Read a recipe by name or from a YAML file, then apply `section.key=value` overrides.

    Their order does not matter, but where one key is given twice: the last counts.

    Examples:
        >>> facemill.load_recipe("lrl", ["crop.size=224"]).crop.size
        224

    Args:
        purpose: what the recipe is for: `build` takes no override of `train`, and `train` of nothing else but `seed`.

    Raises:
        ConfigError: for an unknown recipe, key or value, or an override that belongs elsewhere.
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
    """Check a mapping of settings and make a `Recipe` of it.

    Raises:
        ConfigError: naming the first bad key or value.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _check_options(recipe: Recipe) -> None:
    """Refuse at once what would be refused when detector and filters are made; they are imported, and may need torch.

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
        known = f"say one of {', '.join(kind.variants)}" if kind.variants else "leave it out"
        raise ConfigError(f"{detect.detector} has no variant {detect.variant!r}: {known}.")


def _parse_yaml(text: str, what: str) -> Any:
    if len(text) > LONGEST_PAGE:
        raise ConfigError(f"{what} is longer than any recipe: {len(text)} characters.")
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date that there is not
        raise ConfigError(f"{what} is not YAML: {' '.join(str(error).split())}.") from None


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice, of which the last would win, and aliases, by which a short page grows without end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "a recipe has no aliases", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for (key, _), name in zip(node.value, names, strict=False):
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands twice", key.start_mark)
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
        f"There is no recipe or recipe file {name_or_path!r}{hint}: give a YAML file or one of {', '.join(names)}."
    )


def _rank(override: str) -> tuple[int, bool]:
    """Whole sections come before keys in them, and a strategy before its options, which it clears."""
    dotted = override.partition("=")[0].strip()
    return dotted.count("."), not dotted.endswith(".strategy")


def _refuse_foreign(override: str, purpose: Literal["build", "train"] | None) -> None:
    """A setting that the command would silently leave unused."""
    dotted = override.partition("=")[0].strip()
    section = dotted.partition(".")[0]
    if purpose == "build" and section == "train":
        raise ConfigError(f"{dotted!r} decides a training run, not a dataset's bytes: give it to `facemill train`.")
    if purpose == "train" and section not in ("train", "seed") and section in Recipe.model_fields:
        raise ConfigError(f"{dotted!r} decides a dataset's bytes, not a training run: give it to `facemill build`.")


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `section.key=value`; the value is read as YAML, so that `null` and `true` work."""
    dotted, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r} is not an override: write section.key=value, such as crop.size=380.")
    *sections, key = dotted.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{dotted!r} reaches into a plain value: see `facemill recipes` for the keys.")
    if key == "strategy":
        values.clear()  # the old strategy's options mean nothing to the new one
    values[key] = _parse_yaml(text, f"The override {override!r}")


def _explain(error: ValidationError) -> str:
    faults = error.errors()
    first = faults[0]
    location = _keys_of(first["loc"])
    dotted = ".".join(location) or "the recipe"
    if first["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        hint = nearest(location[-1], known)
        return f"Unknown recipe key {dotted!r}{hint}: known keys here are {', '.join(known)}."
    told = [fault["msg"].removeprefix("Value error, ") for fault in faults if _keys_of(fault["loc"]) == location]
    return f"Recipe key {dotted!r} is wrong: {', or '.join(told)}, got {reprlib.repr(first['input'])}."


def _keys_of(location: Iterable[int | str]) -> list[str]:
    """A place in the recipe's page; below a plain value, pydantic names the member of a union that it tried."""
    model: type[BaseModel] = Recipe
    keys: list[str] = []
    for part in map(str, location):
        keys.append(part)
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return keys


def _fields_at(location: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location:
        annotation = model.model_fields[part].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)
