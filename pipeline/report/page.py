"""Pages with interactive figures: Plotly is part of the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from facemill.pipeline.figures.page import page_part, render_page

__all__ = ["GENERATOR", "is_report", "render_report"]

GENERATOR = "facemill report"


def render_report(title: str, body: str, values: Mapping[str, Any]) -> bytes:
    """Render a page with figures.

    Args:
        body: a template, whose `data` report.js reads.
    """
    scripts = [get_plotlyjs(), page_part("report.js", "facemill.pipeline.report")]
    filters: dict[str, Any] = {"number": "{:,}".format}
    return render_page(title, body, values, generator=GENERATOR, filters=filters, scripts=scripts)


def is_report(path: Path) -> bool:
    """Whether a file is a report, so that a later run may replace it."""
    with path.open("rb") as file:
        return f'content="{GENERATOR}"'.encode() in file.read(1000)
