"""HTML pages that need no other file and no network: one head, one style, and foreign text that is always text."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from facemill.manifests.printable import printable

__all__ = ["png_url", "render_page"]

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="generator" content="{{ generator }}">
<meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } tr { border-bottom: 1px solid #ddd }
td, th { padding: .2rem .8rem; text-align: left; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
h2 { margin-top: 3rem; overflow-wrap: anywhere } img { max-width: 100%; display: block; margin: 1rem 0 }
.found { font-weight: bold }
figure { display: inline-block; margin: 0 1em 1em 0 } figcaption { font-size: 12px }
figure img { width: 128px; height: 128px; margin: 0 }
</style>
</head>
<body>
<h1>{{ title }}</h1>
"""
_FOOT = """\
</body>
</html>
"""


def render_page(
    title: str, body: str, values: Mapping[str, Any], *, generator: str, filters: Mapping[str, Callable[..., Any]]
) -> bytes:
    """Render a page.

    Args:
        title: text; also the first heading.
        body: a Jinja template of what follows it. Its values are escaped, and shown as `printable` shows them.
        generator: what the page is written by, in its head.
        filters: more filters of the template.
    """
    pages = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=printable
    )
    pages.filters |= filters
    return pages.from_string(_HEAD + body + _FOOT).render({**values, "title": title, "generator": generator}).encode()


def png_url(png: bytes) -> str:
    """A PNG as the source of an image of a page."""
    return f"data:image/png;base64,{b64encode(png).decode()}"
