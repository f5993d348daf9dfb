"""HTML pages that need no other file and no network: one head, one style, and foreign text that is always text."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from facemill.manifests.printable import printable

__all__ = ["file_url", "is_page", "page_part", "render_page"]

_PARTS = ("page.html", "parts.html")


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


def is_page(path: Path, generator: str) -> bool:
    """Whether a file is a page that `generator` wrote, so that a later run may replace it."""
    with path.open("rb") as file:
        return f'content="{generator}"'.encode() in file.read(1000)


def file_url(content: bytes, kind: str) -> str:
    """A file of a media type as a URL that holds it."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _hash_source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
