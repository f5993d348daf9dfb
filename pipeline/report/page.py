"""Pages with interactive figures: Plotly is part of the page."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from plotly.offline import get_plotlyjs

from facemill.pipeline.figures.page import is_page_of, page_part, render_page

__all__ = ["is_report", "render_report"]

_GENERATOR = "facemill report"
is_report = partial(is_page_of, _GENERATOR)
"""Whether a file is a report, so that a later run may replace it."""
_PACKAGE = "facemill.pipeline.report"


def render_report(title: str, template: str, values: Mapping[str, Any]) -> bytes:
    """Render a page with figures: a template of this package, whose `data` report.js reads."""
    scripts, filters = [get_plotlyjs(), page_part("report.js", _PACKAGE)], {"number": "{:,}".format}
    return render_page(
        title, template, values, package=_PACKAGE, generator=_GENERATOR, filters=filters, scripts=scripts
    )
