"""How the files are read: by the recipe of a run's training data."""

from pathlib import Path

from facemill import ConfigError
from facemill.pipeline.config.recipe import Recipe, parse_recipe
from facemill.pipeline.runs.folder import RunConfig
from facemill.pipeline.runs.framing import differing_crops

__all__ = ["reading_recipe"]


def reading_recipe(
    run: Path, config: RunConfig, given: Recipe | None = None, frames: int | None = None, every: int | None = None
) -> tuple[Recipe, list[str]]:
    """The recipe to read files by: that of the run's training data, but of everyone in them and around faces.

    Args:
        given: a recipe to use instead.
        frames, every: sample so many frames, evenly spaced, or every n-th, instead of as the recipe does.

    Returns:
        the recipe, and sentences on how its crops differ from the training data's.

    Raises:
        ConfigError: if the run records no recipe and none is given, or `frames` and `every` are both given.
    """
    if frames is not None and every is not None:
        raise ConfigError("A number of frames and an interval are two ways to sample: give one of the two.")
    if given is None and config.recipe is None:
        raise ConfigError(
            f"{run} does not record how its training data was built, as runs of earlier versions: pass --recipe with "
            "the recipe that it was built with."
        )
    values = (given or parse_recipe(config.recipe or {})).build_values()
    if frames is not None:
        values["sample"] = {"strategy": "uniform", "frames": frames}
    elif every is not None:
        values["sample"] = {"strategy": "stride", "every": every}
    values["crop"]["steady"] &= values["sample"]["strategy"] == "runs"
    values["track"]["keep"] = "all"
    values["crop"]["around"] = "face"  # masks are made of pairs
    recipe = parse_recipe({**values, "mask": {}, "annotate": {}, "shards": {}})
    crop = {name: value for name, value in values["crop"].items() if name != "size"}
    return recipe, [*differing_crops("these files", crop, config.crop or {}, "the run's training data")]
