"""The commands that tell what there is, and the demo."""

from pathlib import Path
from typing import Annotated

import typer

from facemill.pipeline.commands.shared import Out

__all__ = ["datasets", "demo", "detectors", "recipes"]


def datasets(name: Annotated[str | None, typer.Argument(help="Show this dataset's layout and link.")] = None) -> None:
    """List the datasets that `scan` knows, or show one's folder layout, file names, pairs, splits and link."""
    from facemill.manifests.datasets import available, get

    if name is None:
        for known in available():
            typer.echo(f"{known:<9} {get(known).summary}")
        return
    adapter = get(name)
    typer.echo(adapter.description)
    if adapter.link is not None:
        typer.echo(f"\nAsk its authors for the files: {adapter.link}")


def recipes(name: Annotated[str | None, typer.Argument(help="Show this recipe in full.")] = None) -> None:
    """List the recipes, or show one with every value resolved."""
    import yaml

    from facemill.pipeline.config.recipe import available_recipes, load_recipe

    if name is not None:
        typer.echo(yaml.safe_dump(load_recipe(name).model_dump(mode="json"), sort_keys=False))
        return
    for known in available_recipes():
        page = load_recipe(known)
        detector = (
            page.detect.detector if page.detect.variant is None else f"{page.detect.detector} {page.detect.variant}"
        )
        sampling = " ".join(str(v) for v in page.sample.model_dump(exclude_none=True).values())
        crop = f"{page.crop.size} px, {page.crop.scale:g} x {page.crop.around}, align {page.crop.align}"
        typer.echo(f"{known:<8} {sampling:<11} {detector:<20} {crop:<38} {page.paper or ''}".rstrip())


def detectors(name: Annotated[str | None, typer.Argument(help="Show this forgery detector's options.")] = None) -> None:
    """List the face detectors and the forgery detectors, or show one forgery detector's options."""
    from facemill.detectors import face, forgery

    if name is not None:
        for option in forgery.describe_options(name):
            typer.echo(option)
        return
    for known in face.available():
        typer.echo(f"face     {known:<16} {', '.join(face.variants(known))}".rstrip())
    for known in forgery.available():
        options = forgery.options_of(known)
        typer.echo(f"forgery  {known:<16} {options.size} px, {options.backbone}")


def demo(
    out: Out = Path("demo-out"),
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
    train: Annotated[bool, typer.Option(help="Train and evaluate, which needs the train extra.")] = True,
) -> None:
    """Make a small corpus, build and verify shards, train a small detector on them, evaluate it, draw pictures."""
    from facemill.pipeline.demo import run_demo

    run_demo(out, workers=workers, training=train)
