"""Comparison of datasets' crop settings with those a detector expects: different crops shift its input distribution."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.config.recipe import available_recipes, load_recipe

__all__ = ["crop_settings", "differences_from_paper", "differences_from_training", "differing_crops"]


def crop_settings(folder: Path) -> dict[str, Any]:
    """The `crop` section of the recipe that a dataset was built with, except `size`, since every detector resizes."""
    return {key: value for key, value in read_dataset(folder).recipe.get("crop", {}).items() if key != "size"}


def differences_from_paper(detector: str, folders: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence for each dataset whose crops differ from the detector's recipe, or else from the first one."""
    if detector in available_recipes():
        wanted = load_recipe(detector).crop.model_dump(mode="json", exclude={"size"})
        for folder in folders:
            yield from differing_crops(str(folder), crop_settings(folder), wanted, f"the recipe {detector}")
    else:
        for folder in folders[1:]:
            yield from differing_crops(str(folder), crop_settings(folder), crop_settings(folders[0]), str(folders[0]))


def differences_from_training(trained_on: Mapping[str, Any] | None, folders: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence for each dataset whose crops differ from those that a run was trained on."""
    for folder in folders:
        yield from differing_crops(str(folder), crop_settings(folder), trained_on or {}, "the run's training data")


def differing_crops(what: str, crop: Mapping[str, Any], wanted: Mapping[str, Any], whose: str) -> Iterator[str]:
    """Yield a sentence if crop settings differ from others in keys that both have."""
    pairs = {key: (value, wanted[key]) for key, value in crop.items() if key in wanted}
    other = [f"{key} {value} instead of {expected}" for key, (value, expected) in pairs.items() if value != expected]
    if other:
        yield f"The crops of {what} are not those of {whose}: {', '.join(other)}."
