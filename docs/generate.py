"""Generates the site's reference pages from the code, so that nothing is written twice.

mkdocs runs this before rendering (`make docs`). README, ARCHITECTURE, CONTRIBUTING and CHANGELOG become pages too.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mkdocs_gen_files
import pyarrow as pa
import yaml
from pydantic import BaseModel
from typer.main import get_command
from typer.testing import CliRunner

import facemill
from facemill.detectors import forgery
from facemill.manifests import Reason, schemas
from facemill.manifests.datasets import DatasetAdapter
from facemill.manifests.shards.croissant import DESCRIPTIONS
from facemill.pipeline.commands.cli import app
from facemill.pipeline.commands.shared import Exit
from facemill.pipeline.config.recipe import Recipe, available_recipes, load_recipe
from facemill.registry import ANNOTATORS, DATASETS, FACE_DETECTORS, FORGERY_DETECTORS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # mkdocs runs this file by its path

from docs.faithful import page as faithful_page  # noqa: E402
from docs.faithful import read_entries, table  # noqa: E402

COPIES = {"README": "index", "ARCHITECTURE": "architecture", "CONTRIBUTING": "contributing", "CHANGELOG": "changelog"}


def write(name: str, *parts: str) -> None:
    """Write a page of the site."""
    with mkdocs_gen_files.open(f"{name}.md", "w") as page:
        page.write("\n\n".join(parts) + "\n")


def one_line(text: str | None) -> str:
    """A docstring's first paragraph as one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def code(value: object) -> str:
    """A value as code."""
    return f"`{value}`"


def copies() -> None:
    """Copy the repository's own pages, with links between them changed to the site's."""
    for source, name in COPIES.items():
        text = (ROOT / f"{source}.md").read_text("utf-8").replace("(docs/pages/", "(")
        for other, page in COPIES.items():
            text = text.replace(f"({other}.md)", f"({page}.md)")
        write(name, text)


def datasets() -> None:
    """A table of all datasets, and layout, names, pairs, splits and published counts of each, from its adapter."""
    sections = [table(DATASET_HEAD, map(dataset_row, DATASETS.values()))]
    for name, adapter in DATASETS.items():
        about = re.sub(r"^(\w+): ", r"- **\1**: ", adapter.description, flags=re.MULTILINE)
        link = f"Request the files from the authors: <{adapter.link}>" if adapter.link else ""
        sections += [f"## {name}", about.replace("\n- **", "\n\n- **", 1), link]
    write(
        "datasets",
        "# Datasets",
        "What the authors' pages say of every dataset that `facemill scan` supports, and below, the output of "
        "`facemill datasets NAME`. Sizes are of the download.",
        *sections,
    )


DATASET_HEAD = (
    *("dataset", "terms", "size", "videos", "methods", "paired with", "authors' masks", "official split", "command"),
)


def dataset_row(adapter: DatasetAdapter) -> tuple[str, ...]:
    """What the authors' pages say of a dataset, and how it is listed; what they do not say is `unknown`."""
    topics = (adapter.topic(name) or "none" for name in ("Pairs", "Masks", "Splits"))
    name = f"[{adapter.name}]({adapter.link})" if adapter.link else adapter.name
    stated = (adapter.terms, adapter.size, adapter.topic("Published"), adapter.methods)
    return (name, *(one or "unknown" for one in stated), *topics, code(adapter.command))


def detectors() -> None:
    """Options of each detector, and outputs of annotators."""
    sections = ["# Detectors", "## Face detectors"]
    for name, kind in FACE_DETECTORS.items():
        variants = f"Variants (`detect.variant`): {', '.join(map(code, kind.variants))}." if kind.variants else ""
        sections += [f"### {name}", one_line(kind.__doc__), variants, options(kind.options_type)]
    sections += ["## Annotators", "Named in a recipe's `annotate`, such as `--set annotate.quality={}`."]
    for name, annotator in ANNOTATORS.items():
        rows = [(code(f"{name}_{key}"), one.kind, one.description) for key, one in annotator.outputs.items()]
        sections += [f"### {name}", one_line(annotator.__doc__), table(("output", "kind", "meaning"), rows)]
    sections += ["## Forgery detectors", "Options are set by `--set train.model.OPTION=VALUE`."]
    for name, kind in FORGERY_DETECTORS.items():
        lines = [re.fullmatch(r"(\w+)=(.*?)  (.*)", line) for line in forgery.describe_options(name)]
        rows = [(code(m[1]), code(m[2]), m[3]) for m in lines if m]
        sections += [f"### {name}", one_line(kind.__doc__), table(("option", "default", "meaning"), rows)]
    write("detectors", *sections)


def options(model: type[BaseModel]) -> str:
    """The options of a model as a table."""
    rows = [(code(key), code(f.get_default()), one_line(f.description)) for key, f in model.model_fields.items()]
    return table(("`detect.options`", "default", "meaning"), rows) if rows else ""


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of a recipe with its default and meaning."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{prefix}{name}.")
        else:
            default = "" if field.is_required() else code(field.get_default(call_default_factory=True))
            yield code(prefix + name), default, one_line(field.description)


def recipes() -> None:
    """Every key of a recipe, and every recipe in full."""
    sections = ["# Recipes", "A recipe determines a dataset's bytes; its `train` section determines a training run."]
    sections += ["## Keys", table(("key", "default", "meaning"), keys(Recipe))]
    for name in available_recipes():
        page: dict[str, Any] = load_recipe(name).model_dump(mode="json")
        sections += [f"## {name}", page["paper"] or "", f"```yaml\n{yaml.safe_dump(page, sort_keys=False)}```"]
    write("recipes", *sections)


def files() -> None:
    """The columns of every table that a build writes."""
    sections = ["# Files on disk", f"```\n{_layout()}\n```"]
    for name in ("SAMPLES", "VIDEOS", "FACES", "FACTS", "FAILURES"):
        schema: pa.Schema = getattr(schemas, name)
        meanings = DESCRIPTIONS if name == "SAMPLES" else {}
        rows = [
            (code(f.name), f"{f.type}{'' if f.nullable else ', never null'}", meanings.get(f.name, "")) for f in schema
        ]
        sections += [f"## {name.lower()}.parquet", table(("column", "type", "meaning"), rows)]
    write("files", *sections)


def _layout() -> str:
    from facemill.manifests.shards import dataset

    return (dataset.__doc__ or "").partition("\n\n")[2]


def commands() -> None:
    """The help of every command."""
    sections = ["# Command line", _help(), "## Exit codes", table(("code", "meaning"), _exit_codes())]
    for name in sorted(get_command(app).commands):  # type: ignore[attr-defined]  # typer has click inside
        sections += [f"## {name}", _help(name)]
    write("commands", *sections)


def _help(*command: str) -> str:
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="facemill", env={"COLUMNS": "110"})
    return f"```\n{shown.output.strip()}\n```"


def _exit_codes() -> Iterator[tuple[object, ...]]:
    return ((code.value, code.name.lower().replace("_", " ")) for code in Exit)


def python() -> None:
    """The Python API: the functions of the top-level package."""
    names = [name for name in facemill.__all__ if name[0].islower()]
    parts = (
        f"## facemill.{name}\n\n::: facemill.{facemill._PLACES[name]}\n    options: {{show_root_heading: false, "
        "show_root_toc_entry: false}"
        for name in names
    )
    intro = "`import facemill` loads no other package: each name is imported on first use."
    write("python", "# Python", intro, *parts)


def troubleshooting() -> None:
    """Every reason that can occur in failures.parquet."""
    rows = [(code(r.value), r.fault.value, "yes" if r.retryable else "no") for r in Reason]
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    write("troubleshooting", text, table(("reason", "cause", "retried by the same command"), rows))


def faithful() -> None:
    """What the papers state, and where it is implemented."""
    write("faithful", faithful_page(read_entries()))


for page in (copies, datasets, detectors, recipes, files, commands, python, troubleshooting, faithful):
    page()
