"""The commands that list datasets, recipes and detectors, and the demo."""

from pathlib import Path
from typing import Annotated

import typer

from facemill.pipeline.commands.printing import echo, echo_json
from facemill.pipeline.commands.shared import AsJson, Out

__all__ = ["datasets", "demo", "detectors", "recipes"]


def datasets(
    name: Annotated[str | None, typer.Argument(help="Show this dataset's layout and link.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the datasets that `scan` supports, or show one's folder layout, file names, pairs, splits and link."""
    from facemill.registry import DATASETS

    if as_json:
        found = [DATASETS[known] for known in (DATASETS if name is None else [name])]
        keys = ("name", "summary", "link", "terms", "size", "methods", "command")
        echo_json([{key: getattr(each, key) for key in keys} for each in found])
        return
    if name is None:
        width = max(map(len, DATASETS))
        for known, adapter in DATASETS.items():
            typer.echo(f"{known:<{width}} {adapter.summary}")
        return
    adapter = DATASETS[name]
    typer.echo(f"{adapter.description}\n\nCommand: {adapter.command}")
    if adapter.link is not None:
        typer.echo(f"Terms: {adapter.terms or 'unknown'}.\nSize: {adapter.size or 'unknown'}.")
        typer.echo(f"Ask its authors for the files: {adapter.link}")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe in full.")] = None, as_json: AsJson = False
) -> None:
    """List the recipes, or show one with every value resolved."""
    import yaml

    from facemill.pipeline.config.recipe import available_recipes, load_recipe

    if as_json:
        names = available_recipes() if name is None else [name]
        echo_json([load_recipe(known).model_dump(mode="json") for known in names])
        return
    if name is not None:
        typer.echo(yaml.safe_dump(load_recipe(name).model_dump(mode="json"), sort_keys=False))  # YAML escapes
        return
    for known in available_recipes():
        page = load_recipe(known)
        detector = (
            page.detect.detector if page.detect.variant is None else f"{page.detect.detector} {page.detect.variant}"
        )
        sampling = " ".join(str(v) for v in page.sample.model_dump(exclude_none=True).values())
        crop = f"{page.crop.size} px, {page.crop.scale:g} x {page.crop.around}, align {page.crop.align}"
        echo(f"{known:<8} {sampling:<11} {detector:<20} {crop:<38} {page.paper or ''}".rstrip())


def detectors(
    name: Annotated[str | None, typer.Argument(help="Show this forgery detector's options.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the face detectors and the forgery detectors, or show one forgery detector's options."""
    from facemill.detectors import forgery
    from facemill.registry import FACE_DETECTORS, FORGERY_DETECTORS

    if name is not None:
        for option in forgery.describe_options(name):
            echo(option)
        return
    if as_json:
        found = {known: forgery.options_of(known) for known in FORGERY_DETECTORS}
        listed = {known: options.model_dump(include={"size", "backbone"}) for known, options in found.items()}
        echo_json({"face": {known: kind.variants for known, kind in FACE_DETECTORS.items()}, "forgery": listed})
        return
    for known, kind in FACE_DETECTORS.items():
        echo(f"face     {known:<16} {', '.join(kind.variants)}".rstrip())
    for known in FORGERY_DETECTORS:
        options = forgery.options_of(known)
        backbone = getattr(options, "backbone", None)  # a detector need not be built on one
        echo(f"forgery  {known:<16} {options.size} px{f', {backbone}' if backbone else ''}")


def demo(
    out: Out = Path("demo-out"),
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
    train: Annotated[bool, typer.Option(help="Train and evaluate, which needs the train extra.")] = True,
) -> None:
    """Make a small corpus, build and verify shards, train a small detector on them, evaluate it, and draw figures."""
    from facemill.pipeline.demo import run_demo

    run_demo(out, workers=workers, training=train)
