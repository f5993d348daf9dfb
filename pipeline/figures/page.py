"""HTML pages that need no other file and no network: one head, one style, and foreign text that is always text.

Their tables are shown with aligned numbers, and saved as CSV and LaTeX.
"""

import csv
import hashlib
import io
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from facemill.manifests.printable import printable

__all__ = ["PageTable", "file_url", "in_latex", "is_page_of", "page_part", "render_page"]

_PARTS = ("page.html", "parts.html")
_LACKING = "\N{EN DASH}"


def render_page(
    title: str,
    template: str,
    values: Mapping[str, Any],
    *,
    package: str,
    generator: str,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    scripts: Sequence[str] = (),
) -> bytes:
    """Render a page. Its policy admits nothing but itself: no network, and no scripts but those given, by their hashes.

    Args:
        title: text; also the first heading.
        template: name of a Jinja template of what follows it, among the files of `package`. Its values are escaped, and
            shown as `printable` shows them; `{% from "parts.html" import table %}` gives it the parts of pages.
        generator: what the page is written by, in its head.
        filters: more filters of the template.
        scripts: JavaScript, run in this order at the end of the page.
    """
    pages = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
        loader=DictLoader({name: page_part(name) for name in _PARTS}),
    )
    pages.filters |= {"png_url": partial(file_url, kind="image/png"), **(filters or {})}
    style = page_part("page.css")
    allowed = {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "img-src": "data:",
        # Plotly sets styles of single elements, which no hash can allow.
        "style-src": "'unsafe-inline'" if scripts else _hash_source(style),
        **({"script-src": " ".join(map(_hash_source, scripts))} if scripts else {}),
    }
    head = {
        "title": title,
        "generator": generator,
        "policy": Markup("; ".join(f"{name} {sources}" for name, sources in allowed.items())),
        "style": Markup(style),
        "scripts": [Markup(script) for script in scripts],
    }
    text = '{% extends "page.html" %}{% block body %}' + page_part(template, package) + "{% endblock %}"
    return pages.from_string(text).render({**values, **head}).encode()


@cache
def page_part(name: str, package: str = "facemill.pipeline.figures") -> str:
    """A style, template or script among the files of a package."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def is_page_of(generator: str, path: Path) -> bool:
    """Whether a file is a page that `generator` wrote, so that a later run may replace it."""
    with path.open("rb") as file:
        return f'content="{generator}"'.encode() in file.read(1000)


def file_url(content: bytes, kind: str) -> str:
    """A file of a media type as a URL that holds it."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _hash_source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@dataclass(frozen=True)
class PageTable:
    """A table.

    Attributes:
        columns: formats of numbers by the columns' names, with their units; empty for a column of text.
        rows: numbers, text, or None for a value that there is none of.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]

    @property
    def file_name(self) -> str:
        """Its title as a name of files, without a suffix."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def is_number(self, column: int) -> bool:
        return bool([*self.columns.values()][column])

    def cells(self) -> list[list[str]]:
        return [
            [_LACKING if value is None else format(value, form) if form and not isinstance(value, str) else str(value)
             for value, form in zip(row, self.columns.values(), strict=True)]
            for row in self.rows
        ]  # fmt: skip

    def csv_url(self) -> str:
        """The table as CSV: numbers as they are, and text that no program of spreadsheets takes for a formula."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in (self.columns, *self.rows):
            writer.writerow([_no_formula(printable(cell)) if isinstance(cell, str) else cell for cell in row])
        return file_url(text.getvalue().encode(), "text/csv")

    def latex_url(self) -> str:
        """The table as a `tabular` of LaTeX."""
        kinds = "".join("r" if form else "l" for form in self.columns.values())
        lines = [" & ".join(in_latex(printable(cell)) for cell in row) for row in ([*self.columns], *self.cells())]
        lines.insert(1, r"\hline")
        body = "\n".join(line if line == r"\hline" else rf"{line} \\" for line in lines)
        text = f"% {printable(self.title)}\n\\begin{{tabular}}{{{kinds}}}\n{body}\n\\end{{tabular}}\n"
        return file_url(text.encode(), "application/x-tex")


def in_latex(value: Any) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", _LACKING: "--"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in str(value))


def _no_formula(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
